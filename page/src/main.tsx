import 'uplot/dist/uPlot.min.css';
import './style/base.css';
import './style/shell.css';
import './style/fleet.css';
import './style/device.css';
import { render } from 'preact';
import { Page } from './app.js';
import { app } from './session/app-state.js';
import { preferences } from './session/preferences.js';

preferences.start();
void app.start();
render(<Page />, document.getElementById('page') as HTMLElement);
