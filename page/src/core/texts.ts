/** All texts of the page, English and German. `{name}` is filled in; of `one|many` the number `n` chooses. */
const table = {
  skip: ['Skip to the content', 'Zum Inhalt springen'],
  signOut: ['Sign out', 'Abmelden'],
  'part.failed': ['This part cannot be shown.', 'Dieser Teil lässt sich nicht anzeigen.'],
  'session.nobody': ['somebody it does not name', 'jemand ohne Namen'],

  'bar.home': ['Sluice, to the devices', 'Sluice, zu den Geräten'],
  'bar.connection': ['Connection: {state}', 'Verbindung: {state}'],
  'bar.settings': ['Settings', 'Einstellungen'],
  'settings.theme': ['Appearance', 'Darstellung'],
  'settings.language': ['Language', 'Sprache'],
  'settings.user': ['Signed in as', 'Angemeldet als'],
  'theme.system': ['System', 'System'],
  'theme.light': ['Light', 'Hell'],
  'theme.dark': ['Dark', 'Dunkel'],

  'link.live': ['Live', 'Live'],
  'link.noData': ['No device data', 'Keine Gerätedaten'],
  'link.late': ['Data {span} late', 'Daten {span} verspätet'],
  'link.resuming': ['Catching up…', 'Holt auf …'],
  'link.connecting': ['Connecting…', 'Verbindet …'],
  'link.waiting': ['Reconnecting in {n} s', 'Neuer Versuch in {n} s'],
  'link.closed': ['Disconnected', 'Getrennt'],
  'link.ended': ['Access ended', 'Zugang beendet'],

  'connection.title': ['Connection', 'Verbindung'],
  'connection.state': ['State', 'Zustand'],
  'connection.roundTrip': ['Round trip', 'Umlaufzeit'],
  'connection.roundTripNote': ['to the server and back', 'zum Server und zurück'],
  'connection.rate': ['Rate', 'Rate'],
  'connection.perSecond': ['{rate} values/s', '{rate} Werte/s'],
  'connection.rateChart': ['Values per second, the last 24 s', 'Werte pro Sekunde, die letzten 24 s'],
  'connection.received': ['Received', 'Empfangen'],
  'connection.skipped': ['Merged', 'Zusammengefasst'],
  'connection.skippedNote': ['newer values came first', 'neuere Werte gingen vor'],
  'connection.resumes': ['Resumed', 'Fortgesetzt'],
  'connection.resumesNote': [
    'reconnects that went on where they stopped',
    'Verbindungen, die weitergingen, wo sie abbrachen',
  ],
  'connection.gaps': ['Gaps', 'Lücken'],
  'connection.gapsNote': ['values that are missing for good', 'Werte, die für immer fehlen'],
  'connection.tokenEnds': ['Access ends', 'Zugang endet'],
  'connection.for': ['for {span}', 'seit {span}'],
  'connection.in': ['in {span}', 'in {span}'],
  'connection.ended': ['ended', 'beendet'],
  'connection.renewedByItself': ['renewed by itself', 'wird von selbst verlängert'],
  'connection.lastError': ['Last message of the server:', 'Letzte Meldung des Servers:'],
  'connection.now': ['Reconnect now', 'Jetzt verbinden'],
  'connection.again': ['Try again', 'Noch einmal versuchen'],

  'banner.lost': [
    'The connection was lost at {time}. The values below are the last known ones.',
    'Die Verbindung ging um {time} verloren. Unten stehen die zuletzt bekannten Werte.',
  ],
  'banner.upstream': [
    'No device messages reach the server since {time}. The values below are the last known ones.',
    'Seit {time} erreichen keine Gerätenachrichten den Server. Unten stehen die zuletzt bekannten Werte.',
  ],
  'banner.behind': [
    'Device messages reach the server {span} late: they wait at the broker. The values below are that old.',
    'Gerätenachrichten erreichen den Server um {span} verspätet: Sie warten beim Broker. So alt sind die Werte unten.',
  ],
  'banner.closed': [
    'The server has ended the connection. The values below are the last known ones.',
    'Der Server hat die Verbindung beendet. Unten stehen die zuletzt bekannten Werte.',
  ],
  'banner.1008': [
    'The server has ended this connection because of too many messages. The values below are the last known ones.',
    'Der Server hat diese Verbindung wegen zu vieler Nachrichten beendet. Unten stehen die zuletzt bekannten Werte.',
  ],
  'banner.1009': [
    'The server has refused a message that is too big. The values below are the last known ones.',
    'Der Server hat eine zu große Nachricht abgelehnt. Unten stehen die zuletzt bekannten Werte.',
  ],

  'renew.title': ['Access', 'Zugang'],
  'renew.ending': [
    'Your access ends in {span}. Renew it to go on without a break.',
    'Ihr Zugang endet in {span}. Verlängern Sie ihn, um ohne Unterbrechung weiterzumachen.',
  ],
  'renew.expired': [
    'Your access has ended: the token has expired. What you see are the last known values; they go on with a new token.',
    'Ihr Zugang ist beendet: Das Token ist abgelaufen. Sie sehen die letzten bekannten Werte; mit einem neuen Token geht es weiter.',
  ],
  'renew.refused': [
    'Your access was withdrawn: the server does not accept the token any more. What you see are the last known values.',
    'Ihr Zugang wurde entzogen: Der Server nimmt das Token nicht mehr an. Sie sehen die letzten bekannten Werte.',
  ],
  'renew.label': ['New access token', 'Neues Zugangstoken'],
  'renew.use': ['Go on with it', 'Damit weitermachen'],
  'renew.now': ['Renew', 'Verlängern'],
  'renew.failed': ['That did not work: {why}', 'Das hat nicht geklappt: {why}'],

  'signIn.title': ['Open the dashboard', 'Dashboard öffnen'],
  'signIn.first': [
    'This page shows the devices that an access token grants.',
    'Diese Seite zeigt die Geräte, die ein Zugangstoken freigibt.',
  ],
  'signIn.refused': [
    'This token was not accepted. Use another one.',
    'Dieses Token wurde nicht angenommen. Bitte ein anderes verwenden.',
  ],
  'signIn.expired': [
    'The token has expired. With a new one you go on where you were.',
    'Das Token ist abgelaufen. Mit einem neuen machen Sie da weiter, wo Sie waren.',
  ],
  'signIn.signedOut': [
    'Signed out. Nothing of this session is kept in this browser.',
    'Abgemeldet. Von dieser Sitzung bleibt nichts in diesem Browser.',
  ],
  'signIn.login': ['Sign in to see your devices.', 'Melden Sie sich an, um Ihre Geräte zu sehen.'],
  'signIn.loginFailed': [
    'The login does not answer as it should. Try again, or use an access token.',
    'Die Anmeldung antwortet nicht wie erwartet. Versuchen Sie es noch einmal, oder nehmen Sie ein Zugangstoken.',
  ],
  'signIn.goToLogin': ['Sign in', 'Anmelden'],
  'signIn.again': ['Try again', 'Noch einmal versuchen'],
  'signIn.token': ['Access token', 'Zugangstoken'],
  'signIn.hint': [
    'It stays in this tab and is sent to this server only.',
    'Es bleibt in diesem Tab und geht nur an diesen Server.',
  ],
  'signIn.malformed': [
    'This is no access token: one has three parts with dots between them.',
    'Das ist kein Zugangstoken: Es hat drei Teile mit Punkten dazwischen.',
  ],
  'signIn.connect': ['Connect', 'Verbinden'],

  'other.title': ['Open another session?', 'Andere Sitzung öffnen?'],
  'other.brings': ['A link brings an access token for', 'Ein Link bringt ein Zugangstoken für'],
  'other.current': ['This page is open for', 'Diese Seite ist geöffnet für'],
  'other.ends': ['Its session would end.', 'Diese Sitzung würde enden.'],
  'other.keep': ['Keep this session', 'Diese Sitzung behalten'],
  'other.switch': ['Open the other one', 'Die andere öffnen'],

  'standing.online': ['Online', 'Online'],
  'standing.offline': ['Offline', 'Offline'],
  'standing.stale': ['Quiet', 'Verstummt'],
  'standing.unknown': ['No status', 'Ohne Status'],
  'state.offlineFor': ['Offline, {span}', 'Offline, {span}'],

  'fleet.title': ['Devices', 'Geräte'],
  'fleet.list': ['{n} devices', '{n} Geräte'],
  'fleet.shown': ['{n} device shown|{n} devices shown', '{n} Gerät angezeigt|{n} Geräte angezeigt'],

  'tools.label': ['Devices shown', 'Angezeigte Geräte'],
  'tools.states': ['By state', 'Nach Zustand'],
  'tools.all': ['All', 'Alle'],
  'tools.find': ['Find by name, place or field', 'Name, Ort oder Feld suchen'],
  'tools.kind': ['Kind', 'Art'],
  'tools.everyKind': ['Every kind', 'Jede Art'],
  'tools.group': ['Group', 'Gruppieren'],
  'tools.noGroup': ['No groups', 'Keine Gruppen'],
  'tools.byPlace': ['By place', 'Nach Ort'],
  'tools.byKind': ['By kind', 'Nach Art'],
  'tools.byState': ['By state', 'Nach Zustand'],
  'tools.sort': ['Order', 'Reihenfolge'],
  'tools.byName': ['By name', 'Nach Name'],
  'tools.worstFirst': ['Worst first', 'Schlimmste zuerst'],
  'tools.newestFirst': ['Newest first', 'Neueste zuerst'],
  'tools.view': ['View', 'Ansicht'],
  'tools.tiles': ['Tiles', 'Kacheln'],
  'tools.table': ['Table', 'Tabelle'],

  'watch.open': ['Watch a device…', 'Gerät beobachten …'],
  'watch.label': ['Watch a device by its id', 'Gerät über seine Id beobachten'],
  'watch.add': ['Watch', 'Beobachten'],
  'watch.done': ['Close', 'Schließen'],
  'watch.stop': ['Stop watching', 'Nicht mehr beobachten'],
  'watch.forbidden': ['Your token does not grant “{id}”.', 'Ihr Token gibt „{id}“ nicht frei.'],
  'watch.refused': ['The server does not show “{id}” now.', 'Der Server zeigt „{id}“ jetzt nicht.'],

  'group.noPlace': ['Without a place', 'Ohne Ort'],
  'group.noKind': ['Without a kind', 'Ohne Art'],

  'granted.tooMany': [
    'Your token names more devices than one connection may watch: {shown} are shown, {n} are not. Find one by its id with “Watch a device…”.',
    'Ihr Token nennt mehr Geräte, als eine Verbindung beobachten darf: {shown} werden angezeigt, {n} nicht. Einzelne finden Sie mit „Gerät beobachten …“.',
  ],
  'granted.refused': [
    '{n} entry of your token is not granted by the server, and not shown.|{n} entries of your token are not granted by the server, and not shown.',
    '{n} Eintrag Ihres Tokens gibt der Server nicht frei; er wird nicht angezeigt.|{n} Einträge Ihres Tokens gibt der Server nicht frei; sie werden nicht angezeigt.',
  ],
  'granted.noRead': [
    'Your token does not permit reading: no values are shown.',
    'Ihr Token erlaubt kein Lesen: Es werden keine Werte angezeigt.',
  ],

  'empty.title': ['No devices yet', 'Noch keine Geräte'],
  'empty.patterns': [
    'Devices appear here when they first speak. Your token grants',
    'Geräte erscheinen hier, sobald sie zum ersten Mal senden. Ihr Token erlaubt',
  ],
  'empty.noGrants': ['Your token names no devices.', 'Ihr Token nennt keine Geräte.'],
  'empty.hint': [
    'A device speaks by publishing to devices/<id>/telemetry; you can also watch one by its id.',
    'Ein Gerät sendet an devices/<id>/telemetry; Sie können auch eines über seine Id beobachten.',
  ],
  'empty.connecting': ['Connecting to the server…', 'Verbindet mit dem Server …'],
  'empty.noMatch': ['No device matches.', 'Kein Gerät passt.'],
  'empty.noMatchHint': ['There are {n} in all.', 'Insgesamt sind es {n}.'],
  'empty.showAll': ['Show all', 'Alle zeigen'],

  'tile.noValue': ['No value yet', 'Noch kein Wert'],
  'tile.nothingYet': ['Nothing received yet', 'Noch nichts empfangen'],
  'tile.emptyObject': ['An empty message', 'Eine leere Nachricht'],
  'tile.updated': ['Updated {age}', 'Aktualisiert {age}'],
  'tile.more': ['+{n} field|+{n} fields', '+{n} Feld|+{n} Felder'],
  'tile.stale': ['Stale', 'Veraltet'],

  'field.value': ['value', 'Wert'],
  'value.yes': ['yes', 'ja'],
  'value.no': ['no', 'nein'],
  'value.more': ['Show all', 'Alles zeigen'],
  'value.fewer': ['Show less', 'Weniger zeigen'],
  'value.emptyText': ['(empty text)', '(leerer Text)'],
  'age.now': ['now', 'jetzt'],
  'age.ago': ['{span} ago', 'vor {span}'],
  'span.s': ['{n} s', '{n} s'],
  'span.min': ['{n} min', '{n} min'],
  'span.h': ['{n} h', '{n} h'],
  'span.d': ['{n} d', '{n} d'],

  'device.path': ['Where you are', 'Wo Sie sind'],
  'device.never': [
    'Nothing was received from this device yet. When it publishes, its values appear here.',
    'Von diesem Gerät wurde noch nichts empfangen. Sobald es sendet, erscheinen hier seine Werte.',
  ],
  'device.forbidden': ['Your token does not grant this device.', 'Ihr Token gibt dieses Gerät nicht frei.'],
  'device.refused': [
    'The server does not show this device now ({code}).',
    'Der Server zeigt dieses Gerät jetzt nicht ({code}).',
  ],
  'why.connection': [
    'These values are old: this page lost its connection at {time}. It comes back by itself.',
    'Diese Werte sind alt: Die Seite hat um {time} ihre Verbindung verloren. Sie kommt von selbst zurück.',
  ],
  'why.upstream': [
    'These values are old: no device messages reach the server since {time}. The device itself may be well.',
    'Diese Werte sind alt: Seit {time} erreichen keine Gerätenachrichten den Server. Dem Gerät selbst kann es gut gehen.',
  ],
  'why.offline': [
    'These values are old: the device is offline since {time}, {span} ago.',
    'Diese Werte sind alt: Das Gerät ist seit {time} offline, seit {span}.',
  ],
  'why.silence': [
    'These values are old: the device has said nothing for longer than it may, and counts as offline. Last heard at {time}, {span} ago.',
    'Diese Werte sind alt: Das Gerät hat länger nichts gesagt, als es darf, und gilt als offline. Zuletzt gehört um {time}, vor {span}.',
  ],
  'why.quiet': [
    'These values are old: the device usually speaks every {usual}, and was last heard {span} ago. Nothing says that it is offline.',
    'Diese Werte sind alt: Das Gerät meldet sich sonst alle {usual} und wurde zuletzt vor {span} gehört. Nichts sagt, dass es offline ist.',
  ],

  'chart.title': ['History', 'Verlauf'],
  'chart.range': ['Time shown', 'Gezeigte Zeit'],
  'range.1m': ['1 min', '1 min'],
  'range.5m': ['5 min', '5 min'],
  'range.30m': ['30 min', '30 min'],
  'range.all': ['All', 'Alles'],
  'chart.pause': ['Pause', 'Anhalten'],
  'chart.live': ['Live', 'Live'],
  'chart.zoomIn': ['Zoom in', 'Vergrößern'],
  'chart.zoomOut': ['Zoom out', 'Verkleinern'],
  'chart.back': ['Back in time', 'Zurück in der Zeit'],
  'chart.forward': ['Forward in time', 'Vorwärts in der Zeit'],
  'chart.fields': ['Fields drawn', 'Gezeichnete Felder'],
  'chart.loading': ['Loading history…', 'Verlauf wird geladen …'],
  'chart.nothing': ['There are no numbers to draw yet.', 'Es gibt noch keine Zahlen zu zeichnen.'],
  'chart.noneChosen': ['Choose a field above.', 'Wählen Sie oben ein Feld.'],
  'chart.noneInTime': ['No values in this time', 'Keine Werte in dieser Zeit'],
  'chart.span': ['From {from} to {to}:', 'Von {from} bis {to}:'],
  'chart.summary': [
    '{name} between {min} and {max} {unit}, now {last}.',
    '{name} zwischen {min} und {max} {unit}, jetzt {last}.',
  ],
  'chart.summaryEmpty': ['{name} without values.', '{name} ohne Werte.'],

  'fields.title': ['Fields', 'Felder'],
  'fields.find': ['Find a field', 'Feld suchen'],
  'fields.noMatch': ['No field matches.', 'Kein Feld passt.'],
  'fields.name': ['Field', 'Feld'],
  'fields.value': ['Value', 'Wert'],
  'fields.actions': ['Actions', 'Aktionen'],
  'fields.draw': ['Draw {name}', '{name} zeichnen'],
  'fields.pin': ['Show {name} big on tiles of this kind', '{name} groß auf Kacheln dieser Art zeigen'],
  'fields.missing': [
    '{n} more field is not listed.|{n} more fields are not listed.',
    '{n} weiteres Feld ist nicht aufgeführt.|{n} weitere Felder sind nicht aufgeführt.',
  ],

  'commands.title': ['Commands', 'Befehle'],
  'commands.offered': ['Commands of this device', 'Befehle dieses Geräts'],
  'commands.none': [
    'This device names no commands. You can send it any JSON.',
    'Dieses Gerät nennt keine Befehle. Sie können ihm beliebiges JSON senden.',
  ],
  'commands.readOnly': [
    'Your token permits reading only: commands cannot be sent.',
    'Ihr Token erlaubt nur das Lesen: Befehle lassen sich nicht senden.',
  ],
  'commands.notGranted': [
    'Your token does not grant commands to this device.',
    'Ihr Token erlaubt keine Befehle an dieses Gerät.',
  ],
  'commands.asJson': ['JSON', 'JSON'],
  'commands.json': ['Command as JSON', 'Befehl als JSON'],
  'commands.send': ['Send', 'Senden'],
  'commands.yesSend': ['Yes, send it', 'Ja, senden'],
  'commands.cancel': ['Cancel', 'Abbrechen'],
  'commands.confirm': ['Send “{name}” now?', '„{name}“ jetzt senden?'],
  'commands.notJson': [
    'This is not valid JSON. Texts need quotes, like {"action":"start"}.',
    'Das ist kein gültiges JSON. Texte brauchen Anführungszeichen, wie {"action":"start"}.',
  ],
  'commands.history': ['Commands sent', 'Gesendete Befehle'],
  'outcome.sending': ['Sending…', 'Wird gesendet …'],
  'outcome.accepted': [
    'Sent: the broker has accepted it; it cannot tell whether the device was listening.',
    'Gesendet: Der Broker hat es angenommen; ob das Gerät zuhörte, kann er nicht sagen.',
  ],
  'outcome.delivered': [
    'Sent: the broker has accepted it, and somebody was listening.',
    'Gesendet: Der Broker hat es angenommen, und jemand hörte zu.',
  ],
  'outcome.waiting': ['Waiting for an answer…', 'Wartet auf eine Antwort …'],
  'outcome.nobody': [
    'The broker took it, but no device was listening.',
    'Der Broker hat es genommen, aber kein Gerät hörte zu.',
  ],
  'outcome.replied': ['The device answered:', 'Das Gerät antwortet:'],
  'outcome.silent': ['The device gave no answer.', 'Das Gerät gab keine Antwort.'],
  'error.forbidden': [
    'Not allowed: your token does not grant commands to this device.',
    'Nicht erlaubt: Ihr Token gibt keine Befehle an dieses Gerät frei.',
  ],
  'error.broker_unavailable': [
    'Not sent: the broker did not accept it in time. It will not be sent later.',
    'Nicht gesendet: Der Broker hat es nicht rechtzeitig angenommen. Es wird nicht später gesendet.',
  ],
  'error.rate_limited': [
    'Not sent: too many messages. Try again in a moment.',
    'Nicht gesendet: zu viele Nachrichten. Versuchen Sie es gleich noch einmal.',
  ],
  'error.payload_too_large': ['Not sent: the command is too big.', 'Nicht gesendet: Der Befehl ist zu groß.'],
  'error.too_many_commands': [
    'Not sent: too many commands are waiting for an answer.',
    'Nicht gesendet: Zu viele Befehle warten auf eine Antwort.',
  ],
  'error.not_connected': ['Not sent: there is no connection.', 'Nicht gesendet: Es gibt keine Verbindung.'],
  'error.closed': ['Not sent: there is no connection.', 'Nicht gesendet: Es gibt keine Verbindung.'],
  'error.connection_lost': [
    'The connection was lost before an answer. It may have been sent.',
    'Die Verbindung ging vor einer Antwort verloren. Vielleicht wurde es gesendet.',
  ],
  'error.timeout': [
    'No answer from the server. It may have been sent.',
    'Keine Antwort vom Server. Vielleicht wurde es gesendet.',
  ],
  'error.other': ['Not sent ({code}).', 'Nicht gesendet ({code}).'],

  'status.title': ['Status history', 'Statusverlauf'],
  'status.none': ['This device tells no status.', 'Dieses Gerät meldet keinen Status.'],
  'status.online': ['Came online', 'Online gekommen'],
  'status.offline': ['Went offline', 'Offline gegangen'],
  'status.silence': ['Offline: said nothing for too long', 'Offline: hat zu lange nichts gesagt'],
  'status.hint': [
    'The server keeps the last change only; more are seen while this page is open.',
    'Der Server behält nur die letzte Änderung; weitere sieht die Seite, solange sie geöffnet ist.',
  ],

  'messages.title': ['Messages', 'Nachrichten'],
  'messages.pause': ['Pause the messages', 'Nachrichten anhalten'],
  'messages.goOn': ['Messages live again', 'Nachrichten wieder live'],
  'messages.copy': ['Copy message {n}', 'Nachricht {n} kopieren'],
  'messages.copyShort': ['Copy', 'Kopieren'],
  'messages.copyAll': ['Copy all: messages', 'Alle kopieren: Nachrichten'],
  'messages.copyAllShort': ['Copy all', 'Alle kopieren'],
  'messages.copied': ['Copied', 'Kopiert'],
  'messages.notCopied': ['Could not copy', 'Nicht kopiert'],
  'messages.skipped': ['{n} merged before', '{n} davor zusammengefasst'],
  'messages.more': ['Show all {n}', 'Alle {n} zeigen'],
  'messages.fewer': ['Show fewer', 'Weniger zeigen'],
} as const satisfies Record<string, readonly [english: string, german: string]>;

export type TextKey = keyof typeof table;
export type Language = 'en' | 'de';
export const LANGUAGES: readonly Language[] = ['en', 'de'];

let spoken: Language = 'en';

export function language(): Language {
  return spoken;
}

/** The language with the region of the browser, so that times and numbers look as the person is used to. */
export function locale(): string {
  const { navigator } = globalThis as { navigator?: { languages?: readonly string[] } };
  return navigator?.languages?.find((tag) => tag.startsWith(spoken)) ?? spoken;
}

export function speak(tag: Language): void {
  spoken = tag;
}

export function hasText(key: string): key is TextKey {
  return Object.hasOwn(table, key);
}

export function t(key: TextKey, params: Readonly<Record<string, string | number>> = {}): string {
  const text: string = table[key][spoken === 'de' ? 1 : 0];
  const [one = text, many = one] = text.split('|');
  const n = String(params['n'] ?? '');
  return (n === '1' ? one : many).replace(/\{(\w+)\}/g, (whole, name: string) =>
    Object.hasOwn(params, name) ? String(params[name]) : whole,
  );
}
