// What the report and the live page share.
export { asGlobal, type ChartAssets, chartAssets, contentPolicy, inlineScript, pageScript, scriptText } from './assets.ts';
export { type Content, escapeHtml, html, jsonForScript, Markup } from './html.ts';
export { chartStyle } from './style.ts';
