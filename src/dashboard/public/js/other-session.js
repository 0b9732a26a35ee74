import { userOf } from './token.js';

/** Names are shown this long at most. */
const MAX_NAME_LENGTH = 80;

/**
 * Asks before a token from a link takes the place of the open session: anybody can send a link, and values of other devices, or commands
 * under another name, are not to come under the eyes of who did not ask for them.
 */
export class OtherSession {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {(token: string) => void} onAccepted
   */
  constructor(dialog, onAccepted) {
    this.dialog = dialog;
    this.token = undefined;
    dialog.querySelector('.keep').addEventListener('click', () => dialog.close());
    dialog.querySelector('.switch').addEventListener('click', () => {
      const { token } = this;
      dialog.close();
      onAccepted(token);
    });
    dialog.addEventListener('close', () => {
      this.token = undefined;
    });
  }

  /** While a question is open, later links are ignored: the answer is to what was read. */
  ask(token, currentToken) {
    if (this.dialog.open) {
      return;
    }
    this.token = token;
    this.dialog.querySelector('.new').textContent = nameOf(token);
    this.dialog.querySelector('.current').textContent = nameOf(currentToken);
    this.dialog.showModal();
  }
}

function nameOf(token) {
  const name = userOf(token);
  if (name === undefined) {
    return 'somebody it does not name';
  }
  return name.length > MAX_NAME_LENGTH ? `${name.slice(0, MAX_NAME_LENGTH)}…` : name;
}
