// What our charts share. They bring their own background in light and dark, because an image in README cannot see which
// of them the page has.

export const SVG_STYLE = `<style>
text { font: 12px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; }
.heading { font-weight: 600; }
.value, .tick, .note { font-size: 10px; fill: #59636e; }
.background { fill: #ffffff; stroke: #d1d9e0; }
.grid { stroke: #d1d9e0; stroke-width: 0.6; }
.native { stroke: #59636e; stroke-width: 1.2; }
.peer { fill: #9ba4ae; }
.ours { fill: #0969da; }
.uring { fill: #1a7f37; }
.other { fill: #9a6700; }
.line.line { fill: none; stroke-width: 1.8; }
.line.peer { stroke: #9ba4ae; }
.line.ours { stroke: #0969da; }
.line.uring { stroke: #1a7f37; }
.line.other { stroke: #9a6700; }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc; }
  .value, .tick, .note { fill: #9198a1; }
  .background { fill: #0d1117; stroke: #3d444d; }
  .grid { stroke: #3d444d; }
  .native { stroke: #9198a1; }
  .peer { fill: #656c76; }
  .ours { fill: #4493f8; }
  .uring { fill: #3fb950; }
  .other { fill: #d29922; }
  .line.peer { stroke: #656c76; }
  .line.ours { stroke: #4493f8; }
  .line.uring { stroke: #3fb950; }
  .line.other { stroke: #d29922; }
}
</style>`;

export function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
