import { Commands } from './commands.js';
import { Connection } from './connection.js';
import { Devices } from './devices.js';
import { Grid } from './grid.js';
import { OtherSession } from './other-session.js';
import { StatusBar } from './status-bar.js';
import { startTheme } from './theme.js';
import {
  cleanToken,
  exactIdsOf,
  forgetToken,
  storedToken,
  storeToken,
  takeTokenFromAddress,
} from './token.js';
import { Watched } from './watched.js';

/** Ids per subscribe message, so that it stays under the server's message limit whatever the ids are. */
const IDS_PER_MESSAGE = 60;
const COUNTS_EVERY_MS = 1_000;

const $ = (id) => document.getElementById(id);
const devices = new Devices();
const watched = new Watched();
const bar = new StatusBar();
/** Server's clock minus ours, so that ages are right on a phone whose clock is not. */
let clockOffsetMs = 0;
let tokenIds = [];
const clock = () => Date.now() + clockOffsetMs;

const url = new URL('/?subscribe=none', location.href);
url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';

const connection = new Connection(url, {
  onState: (state, detail) => {
    bar.setState(state, detail);
    if (state !== 'live') {
      commands.abandon();
    }
  },
  onConnected: ({ serverTs }) => {
    clockOffsetMs = serverTs - Date.now();
    subscribe([...new Set([...tokenIds, ...watched.ids, ...devices.byId.keys()])]);
  },
  onMessage,
  onSignIn: (why) => {
    forgetToken();
    showSignIn(why);
  },
});
const commands = new Commands((text) => connection.sendText(text));
const grid = new Grid(
  $('devices'),
  devices,
  {
    sendCommand: (id, command) => commands.run(id, command),
    isRemovable: (id) => watched.ids.has(id),
    remove: (id) => unwatch(id),
  },
  clock,
);

function subscribe(ids) {
  for (let start = 0; start < ids.length; start += IDS_PER_MESSAGE) {
    const deviceIds = ids.slice(start, start + IDS_PER_MESSAGE);
    // The newest value is what a screen shows: where it cannot follow, it wants that one.
    connection.send({
      type: 'subscribe',
      deviceIds,
      delivery: { mode: 'latest' },
      since: devices.since(deviceIds),
    });
  }
  showEmpty();
}

function onMessage(message) {
  if (message.type === 'upstream') {
    bar.setUpstream(message);
    return;
  }
  if (commands.answer(message)) {
    return;
  }
  if (message.type === 'error') {
    notice(message.error);
    return;
  }
  if (message.type === 'subscribed') {
    onDenied(message.denied ?? []);
  }
  for (const id of devices.apply(message)) {
    grid.mark(id);
  }
  showEmpty();
}

function onDenied(ids) {
  for (const id of ids) {
    watched.delete(id);
    devices.remove(id);
    grid.remove(id);
  }
  if (ids.length > 0) {
    notice(
      ids.length === 1
        ? `Your token does not grant “${ids[0].slice(0, 60)}”.`
        : `Your token does not grant ${ids.length} devices.`,
    );
  }
}

function unwatch(id) {
  watched.delete(id);
  devices.remove(id);
  grid.remove(id);
  connection.send({ type: 'unsubscribe', deviceIds: [id] });
  showEmpty();
}

function notice(text) {
  $('notice').textContent = text;
}

function showEmpty() {
  const text =
    devices.byId.size === 0
      ? 'No devices yet. Watch one by its id, and publish to devices/<id>/telemetry.'
      : grid.shown === 0
        ? 'No device matches.'
        : '';
  $('empty').textContent = text;
  $('empty').hidden = text === '';
}

function showSignIn(why) {
  $('workspace').hidden = devices.byId.size === 0;
  $('sign-out').hidden = true;
  $('sign-in').hidden = false;
  if (why !== undefined) {
    $('sign-in-why').textContent = why;
  }
  $('token').focus();
}

function start(token) {
  storeToken(token);
  tokenIds = exactIdsOf(token);
  $('sign-in').hidden = true;
  $('workspace').hidden = false;
  $('sign-out').hidden = false;
  notice('');
  connection.open(token);
}

$('sign-in').addEventListener('submit', (event) => {
  event.preventDefault();
  const token = cleanToken($('token').value);
  $('token').value = '';
  if (token !== '') {
    start(token);
  }
});
$('sign-out').addEventListener('click', () => {
  connection.close();
  forgetToken();
  devices.clear();
  grid.clear();
  bar.lostAt = undefined;
  showSignIn('Signed out. Paste a token to open the dashboard again.');
});
$('watch').addEventListener('submit', (event) => {
  event.preventDefault();
  const id = $('watch-id').value;
  if (id !== '') {
    $('watch-id').value = '';
    notice('');
    watched.add(id);
    subscribe([id]);
  }
});
$('find').addEventListener('input', ({ target }) => {
  grid.filter(target.value);
  showEmpty();
});
const otherSession = new OtherSession($('other-session'), (other) => {
  connection.close();
  devices.clear();
  grid.clear();
  bar.lostAt = undefined;
  start(other);
});

/** A token from the address: it begins a session, and takes the place of another one only when told to. */
function offered(token) {
  const current = storedToken();
  if (!token || token === current) {
    return;
  }
  if (current === undefined) {
    start(token);
  } else {
    otherSession.ask(token, current);
  }
}

addEventListener('hashchange', () => offered(takeTokenFromAddress()));
setInterval(() => bar.renderCounts(devices.byId.values(), devices.publications), COUNTS_EVERY_MS);

startTheme($('theme'));
const fromAddress = takeTokenFromAddress();
const stored = storedToken();
if (stored !== undefined) {
  start(stored);
} else if (!fromAddress) {
  showSignIn();
}
offered(fromAddress);
