/** @jsxImportSource preact */
import { render } from 'preact';
import { App } from './app.js';
import { LiveTownProvider } from './live-town.js';

const root = document.getElementById('panel');
if (root !== null) {
  root.replaceChildren();
  render(
    <LiveTownProvider>
      <App />
    </LiveTownProvider>,
    root,
  );
}
