const KEY = 'sluice.theme';

/** Light or dark as the system says, until somebody switches. */
export function startTheme(button) {
  const system = matchMedia('(prefers-color-scheme: dark)');
  const apply = (theme) => {
    if (theme === 'light' || theme === 'dark') {
      document.documentElement.dataset.theme = theme;
    }
  };
  apply(localStorage.getItem(KEY));
  button.addEventListener('click', () => {
    const current = document.documentElement.dataset.theme ?? (system.matches ? 'dark' : 'light');
    const next = current === 'dark' ? 'light' : 'dark';
    localStorage.setItem(KEY, next);
    apply(next);
  });
}
