import { useEffect, useRef } from 'preact/hooks';
import { route } from './core/route.js';
import { useStore } from './core/store.js';
import { t } from './core/texts.js';
import { DeviceScreen } from './device/device-screen.js';
import { FleetScreen } from './fleet/fleet-screen.js';
import { app } from './session/app-state.js';
import { Banner } from './session/banner.js';
import { Bar } from './session/bar.js';
import { OtherSession } from './session/other-session.js';
import { preferences } from './session/preferences.js';
import { SignIn } from './session/sign-in.js';

export function Page() {
  useStore(app, preferences, route);
  const { session, signIn, offered } = app;
  const { deviceId } = route.place;
  useTitleAndFocus(session === undefined ? undefined : deviceId);
  return (
    <>
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          document.getElementById('main')?.focus();
        }}
      >
        {t('skip')}
      </a>
      <Bar session={session} />
      {session !== undefined && <Banner session={session} />}
      <main id="main" tabIndex={-1}>
        {session === undefined ? (
          signIn !== undefined && <SignIn reason={signIn.reason} loginUrl={signIn.loginUrl} />
        ) : deviceId === undefined ? (
          <FleetScreen key={session.openedAt} session={session} />
        ) : (
          <DeviceScreen key={`${session.openedAt} ${deviceId}`} session={session} id={deviceId} />
        )}
      </main>
      {offered !== undefined && <OtherSession {...offered} />}
    </>
  );
}

/** Another screen: its name in the tab, and the reader at its beginning. */
function useTitleAndFocus(deviceId: string | undefined): void {
  const before = useRef(deviceId);
  useEffect(() => {
    document.title = deviceId === undefined ? 'Sluice' : `${deviceId} – Sluice`;
    if (before.current !== deviceId) {
      before.current = deviceId;
      document.getElementById('main')?.focus({ preventScroll: true });
      if (deviceId !== undefined) {
        scrollTo(0, 0);
      }
    }
  }, [deviceId]);
}
