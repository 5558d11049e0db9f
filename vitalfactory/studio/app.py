"""The page: five parts under five tabs, in one language."""

from __future__ import annotations

import gradio as gr

from vitalfactory.studio.ask import Ask
from vitalfactory.studio.build import Build
from vitalfactory.studio.look import Look
from vitalfactory.studio.parts import escaped
from vitalfactory.studio.results import Results
from vitalfactory.studio.state import Studio
from vitalfactory.studio.train import Train
from vitalfactory.studio.words import Words

FONTS = ("system-ui", "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei", "sans-serif")
"""Of the machine: none is fetched."""
MONOSPACE = ("ui-monospace", "DejaVu Sans Mono", "WenQuanYi Micro Hei Mono", "monospace")
KEPT_SECONDS = 3600
"""What is uploaded is deleted by then at the latest, also where a page was left open."""
STYLE = """
.gradio-container{max-width:1180px!important}
footer{display:none!important}
.tab-container.visually-hidden{visibility:hidden}
.vf-head{display:flex;flex-wrap:wrap;gap:.5rem 1.5rem;align-items:baseline;justify-content:space-between}
.vf-head h1{font-size:1.5rem;margin:0}
.vf-banner{background:#8c1d18;color:#fff;padding:.5rem .8rem;border-radius:6px;margin:.5rem 0 0;font-weight:600}
.vf-note{margin:.3rem 0}
.vf-problem{border-left:4px solid #b3261e;background:#fdecea;color:#410e0b;padding:.6rem .8rem;margin:.3rem 0;
 overflow-wrap:anywhere}
.vf-progress progress{display:block;width:100%;height:1rem;margin-top:.3rem}
.vf-wide{overflow-x:auto;max-width:100%}
.vf-wide table{border-collapse:collapse;margin:.3rem 0}
.vf-caption{font-weight:600;margin:.6rem 0 .2rem}
.vf-bars caption{text-align:left;font-weight:600;padding:.3rem 0}
.vf-wide th,.vf-wide td{border:1px solid #c9d1db;padding:.25rem .6rem;text-align:left;vertical-align:top}
.vf-wide td{overflow-wrap:normal;max-width:32rem}
.vf-picture{min-width:640px;max-width:100%;height:auto;background:#fff}
.vf-block h4{margin:.6rem 0 .2rem}
.vf-block pre{white-space:pre-wrap;overflow-wrap:anywhere;max-height:24rem;overflow-y:auto;border:1px solid #c9d1db;
 padding:.6rem;margin:0;font-size:.85rem}
#results-compared pre{white-space:pre;overflow-x:auto}
.vf-block mark{background:#ffe08a;color:#111}
.vf-turn{align-items:end}
.vf-list .wrap{flex-direction:column;align-items:stretch}
.vf-list label span{overflow-wrap:anywhere}
.vf-code textarea{font-family:monospace;font-size:.8rem}
.vf-bars td,.vf-bars th{padding:.2rem .6rem;text-align:left;font-weight:400}
.vf-bars meter{width:12rem}
.vf-pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1rem}
@media(max-width:640px){.row>*,.form>*{flex-basis:100%!important}.vf-wide table{width:max-content}}
.vf-report{margin:0}.vf-report iframe{width:100%;height:70vh;border:1px solid #c9d1db;background:#fff}
"""


def page(studio: Studio, words: Words) -> gr.Blocks:
    """Lay the page out.

    Parameters
    ----------
    studio : Studio
    words : Words

    Returns
    -------
    gr.Blocks
    """
    theme = gr.themes.Base(font=list(FONTS), font_mono=list(MONOSPACE)).set(
        block_info_text_color="#56606e", block_info_text_color_dark="#aab4c2"
    )
    demo: gr.Blocks
    with gr.Blocks(
        title=words.title,
        theme=theme,
        css=STYLE,
        analytics_enabled=False,
        delete_cache=(KEPT_SECONDS // 10, KEPT_SECONDS),
    ) as demo:
        gr.HTML(_head(words))
        with gr.Tabs():
            with gr.Tab(words.tab_build, id="build"):
                Build(studio, words)
            with gr.Tab(words.tab_look, id="look") as tab:
                Look(studio, words, tab)
            with gr.Tab(words.tab_train, id="train") as tab:
                Train(studio, words, tab)
            with gr.Tab(words.tab_ask, id="ask") as tab:
                Ask(studio, words, tab)
            with gr.Tab(words.tab_results, id="results") as tab:
                Results(studio, words, tab)

        def leave(request: gr.Request) -> None:
            studio.leave(request.session_hash)

        demo.unload(leave)
    demo.queue(default_concurrency_limit=8)
    return demo


def _head(words: Words) -> str:
    return (
        f'<header class="vf-head"><h1>{escaped(words.title)}</h1>'
        f'<a href="{words.other_language}" hreflang="{"zh" if words.language == "en" else "en"}">'
        f"{escaped(words.other_language_name)}</a></header>"
        f'<p class="vf-banner" role="note">{escaped(words.not_a_device)}</p>'
    )
