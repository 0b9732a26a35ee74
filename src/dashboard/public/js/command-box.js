import { suggestedCommands } from './fields.js';

const ERRORS = {
  forbidden: 'Not allowed: your token does not grant commands to this device.',
  broker_unavailable: 'Not sent: the broker did not accept it in time. It will not be sent later.',
  rate_limited: 'Not sent: too many messages. Try again in a moment.',
  payload_too_large: 'Not sent: the command is too big.',
};

/** The command form of a tile: what is sent, and what became of it. */
export class CommandBox {
  /**
   * @param {{ form: HTMLFormElement, toggle: HTMLButtonElement }} elements
   * @param {(command: string) => Promise<object>} send takes the command's JSON as it was typed; resolves to the server's answer, or to `{ type: 'lost' | 'silent' }`
   */
  constructor({ form, toggle }, send) {
    this.form = form;
    this.toggle = toggle;
    this.send = send;
    this.input = form.querySelector('input');
    this.button = form.querySelector('.primary');
    this.outcome = form.querySelector('.outcome');
    this.suggestions = form.querySelector('.suggestions');
    this.offered = '';
    toggle.addEventListener('click', () => this.setOpen(form.hidden));
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      void this.submit();
    });
    form.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') {
        this.setOpen(false);
        toggle.focus();
      }
    });
  }

  setOpen(open) {
    this.form.hidden = !open;
    this.toggle.setAttribute('aria-expanded', String(open));
    if (open) {
      this.input.focus({ preventScroll: true });
    }
  }

  /** Offers what the metadata says the device understands. */
  offer(meta) {
    const commands = suggestedCommands(meta);
    const offered = commands.join('\n');
    if (offered === this.offered) {
      return;
    }
    this.offered = offered;
    this.suggestions.replaceChildren(
      ...commands.map((text) => {
        const chip = document.createElement('button');
        chip.type = 'button';
        chip.className = 'chip';
        chip.textContent = text;
        chip.addEventListener('click', () => {
          this.input.value = text;
          this.button.focus();
        });
        return chip;
      }),
    );
  }

  async submit() {
    const command = this.input.value;
    try {
      JSON.parse(command);
    } catch {
      this.say('This is not valid JSON. Texts need quotes, like {"action":"start"}.', 'bad');
      this.input.focus();
      return;
    }
    this.button.disabled = true;
    this.say('Sending…', 'pending');
    const answer = await this.send(command);
    this.button.disabled = false;
    this.report(answer);
  }

  report(answer) {
    const at = new Date().toLocaleTimeString();
    switch (answer.type) {
      case 'command_sent':
        return answer.delivered === false
          ? this.say(`${at}: the broker took it, but no device was listening.`, 'warn')
          : this.say(`${at}: the broker has accepted it.`, 'good');
      case 'error':
        return this.say(`${at}: ${ERRORS[answer.code] ?? answer.error}`, 'bad');
      case 'lost':
        return this.say(`${at}: the connection was lost before an answer. It may have been sent.`, 'warn');
      default:
        return this.say(`${at}: no answer from the server.`, 'warn');
    }
  }

  say(text, kind) {
    this.outcome.textContent = text;
    this.outcome.dataset.kind = kind;
  }
}
