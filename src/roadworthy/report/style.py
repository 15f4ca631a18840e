"""The page's style sheet: ink on paper, one accent for each verdict, dark where that is preferred.

Nothing is fetched: fonts are those of the reader's system. Printed, it is always light.
"""

from __future__ import annotations

_LIGHT = """
  --paper: #fff; --ink: #1c1b19; --soft: #5d5a54; --rule: #dcd8cf;
  --good: #1a6b3c; --good-wash: #eaf4ec; --bad: #a3201d; --bad-wash: #fbeceb;
  --care: #8a5200; --care-wash: #fdf3df; --plain: #35506f; --track: #ebe8e1;
"""

_DARK = """
  --paper: #191a1c; --ink: #ebe8e2; --soft: #a9a59c; --rule: #3a3c40;
  --good: #7fce9b; --good-wash: #1d2e23; --bad: #ff9a91; --bad-wash: #3a2120;
  --care: #f0bf6a; --care-wash: #352b18; --plain: #9dbbe0; --track: #313438;
"""

_PAGE = """
* { box-sizing: border-box; }
html { color-scheme: light dark; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1, h2, h3, h4 { line-height: 1.25; overflow-wrap: anywhere; text-wrap: balance; }
h1, h2 { font-family: "Iowan Old Style", "Palatino Linotype", Palatino, Charter, Georgia,
  "DejaVu Serif", serif; font-weight: 600; }
h1 { font-size: 2rem; margin: .2rem 0 .3rem; }
h2 { font-size: 1.5rem; margin: 0 0 1rem; }
h3 { font-size: .82rem; letter-spacing: .07em; text-transform: uppercase; color: var(--soft);
  margin: 0 0 .9rem; padding-top: .9rem; border-top: 1px solid var(--rule); }
h4 { font-size: 1.05rem; margin: 1.4rem 0 .6rem; }
p { margin: .5rem 0; max-width: 46rem; }
ul { margin: .4rem 0; padding-left: 1.2rem; }
li { margin: .2rem 0; overflow-wrap: anywhere; }
a { color: inherit; text-underline-offset: .15em; }
code { font: .88em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  overflow-wrap: anywhere; }
section { margin: 2.2rem 0 0; }
article.one-of-many { margin-top: 3.5rem; }
.kind { font-size: .82rem; letter-spacing: .07em; text-transform: uppercase; color: var(--soft);
  margin: 0; }
.soft, figcaption, footer { color: var(--soft); font-size: .9rem; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--rule);
  overflow-wrap: anywhere; }
.mark { width: 1em; height: 1em; fill: currentColor; flex: none; position: relative; top: .14em; }
.outcome { font-weight: 600; overflow-wrap: anywhere; }
.outcome .mark { margin-right: .35em; }
.outcome.good, .outcome.bad { white-space: nowrap; }
bdi.long { overflow-wrap: anywhere; word-break: break-word; }
.good { color: var(--good); } .bad { color: var(--bad); } .care { color: var(--care); }
details { margin: .2rem 0; }
summary { cursor: pointer; overflow-wrap: anywhere; }
details + .facts { margin-top: .7rem; }
details > :not(summary) { margin-left: 1.1rem; font-size: .9rem; }
"""

_VERDICT = """
.verdict { border: 1px solid var(--rule); border-left: .5rem solid currentColor; margin: 1.4rem 0;
  padding: 1.1rem 1.4rem 1.2rem; border-radius: 3px; }
.verdict.good { background: var(--good-wash); } .verdict.bad { background: var(--bad-wash); }
.verdict.care { background: var(--care-wash); }
.verdict > * { color: var(--ink); }
.verdict .word { display: flex; gap: .5em; align-items: baseline; margin: 0; color: inherit;
  font-size: 1.65rem; font-weight: 700; letter-spacing: .03em; line-height: 1.2; }
.verdict .word .mark { top: .1em; color: inherit; }
.verdict tr:last-child > * { border-bottom: 0; }
.labels { list-style: none; padding: 0; margin: .9rem 0 0; display: grid; gap: .5rem; }
.labels li { display: flex; flex-wrap: wrap; gap: .15rem .8rem; align-items: baseline; margin: 0; }
.label { display: inline-block; background: var(--care); color: var(--paper); font-weight: 700;
  text-transform: uppercase; letter-spacing: .05em; font-size: .85rem; padding: .1em .6em;
  border-radius: 2px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr));
  gap: 1rem 1.5rem; margin: 1.1rem 0 0; padding-top: 1rem; border-top: 1px solid var(--rule); }
.figures dt { color: var(--soft); font-size: .85rem; }
.figures dd { margin: 0; font-size: 1.15rem; font-weight: 600; overflow-wrap: anywhere; }
.figures dd small { display: block; font-weight: 400; font-size: .85rem; color: var(--soft); }
.failures { border: 1px solid var(--bad); border-radius: 3px; background: var(--bad-wash);
  padding: 0 1.4rem 1rem; }
.failures h3 { color: var(--bad); border: 0; }
"""

_TABLES = """
dl { margin: 0; }
.facts > div { display: grid; grid-template-columns: minmax(8rem, 13rem) minmax(0, 1fr);
  gap: 1.2rem; padding: .32rem 0; border-bottom: 1px solid var(--rule); }
.facts > div:last-child { border-bottom: 0; }
.facts dt { color: var(--soft); overflow-wrap: anywhere; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.facts dd > ul { margin: 0; padding-left: 1rem; }
.inner > div { grid-template-columns: minmax(6rem, 10rem) minmax(0, 1fr); border: 0;
  padding: .08rem 0; align-items: baseline; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0; font-size: .93rem; }
th, td { text-align: left; vertical-align: top; padding: .42rem .9rem .42rem 0;
  border-bottom: 1px solid var(--rule); overflow-wrap: break-word; }
th:last-child, td:last-child { padding-right: 0; }
thead th { color: var(--soft); font-weight: 500; font-size: .85rem;
  border-bottom-color: var(--soft); vertical-align: bottom; }
tbody th { font-weight: 600; }
tbody th .soft { font-weight: 400; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
thead .number { white-space: normal; }
.number + :not(.number) { padding-left: .7rem; }
.compact { width: auto; } .compact th, .compact td { padding: .16rem 2.2rem .16rem 0; }
.compact tbody th { font-weight: 400; } .compact tr > :last-child { padding-right: 0; }
td > span > ul, dd > details:first-child { margin-top: 0; }
@media (max-width: 40rem) {
  main { padding: 1.5rem 1rem 3rem; }
  h1 { font-size: 1.6rem; }
  .verdict { padding: .9rem 1rem 1rem; } .verdict .word { font-size: 1.35rem; }
  .failures { padding: 0 1rem .8rem; }
  .figures { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .figures dd { font-size: 1.02rem; }
  .facts > div, .inner > div { grid-template-columns: minmax(0, 1fr); gap: 0; }
  .inner > div { grid-template-columns: minmax(5rem, 40%) minmax(0, 1fr); gap: .8rem; }
  .facts dt { font-size: .85rem; }
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody, tr { display: block; }
  tbody tr { border-bottom: 1px solid var(--rule); padding: .6rem 0; }
  .verdict tbody tr:last-child { border-bottom: 0; padding-bottom: 0; }
  tbody th, tbody td { display: block; border: 0; padding: .1rem 0; }
  tbody td { display: grid; grid-template-columns: minmax(6.5rem, 40%) minmax(0, 1fr); gap: .8rem; }
  tbody td::before { content: attr(data-label); color: var(--soft); }
  .number { text-align: left; white-space: normal; }
  .number + :not(.number) { padding-left: 0; }
  .compact tbody tr { display: flex; flex-wrap: wrap; gap: 0 1.1rem; padding: .25rem 0; }
  .compact tbody th { flex: 1 1 auto; } .compact tbody td { display: block; }
  .compact { font-size: .85rem; } .compact th, .compact td { padding: 0; }
  .compact td::before { margin-right: .4em; }
  .compact td:nth-child(2)::before { content: none; }
  .compact td:has(> span:empty) { display: none; }
}
"""

_CHARTS = """
figure { margin: 1rem 0; }
figcaption { margin-top: .4rem; }
.chart { display: block; overflow: visible; font-size: 13px; }
.chart text { fill: var(--ink); font-variant-numeric: tabular-nums; unicode-bidi: isolate; }
.chart .tick { fill: var(--soft); font-size: 12px; }
.chart .name { fill: var(--soft); } .chart .said { fill: var(--ink); }
.chart .said.bad { fill: var(--bad); font-weight: 600; }
.allowed { fill: var(--track); } .beyond { fill: var(--bad); opacity: .16; }
.slower { fill: var(--track); }
rect.good { fill: var(--good); opacity: .4; } rect.bad { fill: var(--bad); opacity: .5; }
rect.plain { fill: var(--plain); }
.dot.good { fill: var(--good); } .dot.bad { fill: var(--bad); } .dot.plain { fill: var(--plain); }
line.axis { stroke: var(--soft); } line.limit { stroke: var(--ink); stroke-width: 2.5; }
line.noise { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 2.5 2.5; }
line.interval { stroke: var(--plain); stroke-width: 2.5; }
.share { fill: var(--track); stroke: var(--paper); stroke-width: 2; }
.share.narrow { fill: var(--plain); } .share.half { fill: var(--plain); opacity: .55; }
.share.full { fill: var(--soft); opacity: .6; }
.share.unknown { fill: var(--paper); stroke: var(--soft); stroke-width: 1;
  stroke-dasharray: 3 2; }
.profile { display: grid; grid-template-columns: 3.4rem minmax(0, 1fr); gap: .7rem; }
.range { fill: var(--plain); } .range.marked { fill: var(--care); }
line.grid { stroke: var(--rule); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; margin: .2rem 0 .7rem;
  color: var(--soft); font-size: .88rem; }
.legend span { display: inline-flex; align-items: center; gap: .4rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr));
  gap: 1.5rem; }
.pictures figure { margin: 0; }
.pictures img { display: block; max-width: 100%; height: auto; border: 1px solid var(--rule); }
figcaption { overflow-wrap: anywhere; }
"""

_PRINT = """
  .chart { font-size: 10.5px; } .chart .tick { font-size: 10px; }
  @page { margin: 16mm 15mm; }
  html { color-scheme: light; font-size: 12px; }
  body { font-size: 1rem; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main { max-width: none; padding: 0; }
  article.one-of-many { margin-top: 2rem; }
  article + article { break-before: page; }
  h2, h3, h4, thead { break-after: avoid; }
  tr, figure, .verdict, .facts > div, li { break-inside: avoid; }
"""


def style_sheet() -> str:
    """Return the whole style sheet; it holds no `<`, so it needs no escaping in a style element."""
    parts = (
        f":root {{{_LIGHT}}}",
        f"@media (prefers-color-scheme: dark) {{ :root {{{_DARK}}} }}",
        _PAGE,
        _VERDICT,
        _TABLES,
        _CHARTS,
        f"@media print {{ :root {{{_LIGHT}}}{_PRINT}}}",
    )
    return "\n".join(part.strip("\n") for part in parts)
