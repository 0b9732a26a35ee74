import { Component, type ComponentChildren } from 'preact';
import { t } from './texts.js';

interface Props {
  children: ComponentChildren;
  /** Another one is another attempt. */
  of: unknown;
}

/** An error of one part is told where errors are looked for, and ends there. */
export class Boundary extends Component<Props, { failedFor?: unknown; failed: boolean }> {
  override state: { failedFor?: unknown; failed: boolean } = { failed: false };

  override componentDidCatch(error: unknown): void {
    this.setState({ failed: true, failedFor: this.props.of });
    reportError(error);
  }

  override render({ children, of }: Props) {
    const { failed, failedFor } = this.state;
    return failed && failedFor === of ? <p class="failed-part">{t('part.failed')}</p> : children;
  }
}
