"""The page of a verification: complete, self-contained, escaped."""

from html.parser import HTMLParser

import pytest
import torch

import flowmaps as fm

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Tags, in pairs, and text."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.links, self.text = [], [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def read(text):
    page = Page()
    page.feed(text)
    return page


class Named:
    """A map whose name would be markup."""

    def __call__(self, s, t, x):
        return x * (1 - (t - s))[:, None]

    def __repr__(self):
        return "<script>alert('&')</script>"


def verified(flow_map, **options):
    box = fm.testing.Box(-1.0, 1.0)
    return fm.testing.verify(flow_map, lambda t, x: -x, box, (0.0, 1.0), points=64, **options)


def test_the_page_says_all_and_needs_no_other_file(tmp_path):
    report = verified(Named(), shrink=False)
    text = report.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == text
    page = read(text)
    assert page.open == []
    for wanted in (report.verdict, report.reason, *(one.name for one in report)):
        assert wanted in page.text
    for one in report.failures:
        assert one.counterexample.code() in page.text
    for fact in report.facts:
        assert fact in page.text
    assert [link[:22] for link in page.links] == ["data:image/png;base64,"]
    assert "script" not in page.tags and "<script>alert('&')</script>" in page.text


def test_a_map_that_cannot_be_called_has_a_page_without_a_picture():
    def broken(s, t, x):
        raise RuntimeError("<b>no</b> & never")

    page = read(verified(broken).to_html())
    assert "img" not in page.tags and "b" not in page.tags
    assert "<b>no</b> & never" in page.text


def test_statuses_have_their_colour():
    exact = verified(lambda s, t, x: x * torch.exp(s - t)[:, None], derivatives="none")
    text = exact.to_html()
    assert '<td class="holds">passed</td>' in text
    assert '<h1 class="holds">flow map of the field</h1>' in text


@pytest.mark.parametrize(
    "budget, told",
    [(None, "its worst / allowed is above one"), (1e-2, "fewer than 95% of points are within")],
)
def test_the_table_says_what_its_columns_mean(budget, told):
    report = verified(Named(), shrink=False, budget=budget)
    assert told in read(report.to_html()).text


def test_words_of_a_table_are_not_broken_but_in_its_last_column():
    """A browser breaks words anywhere where it may, once a column is narrow."""
    from flowmaps._pages._html import page

    style = page("title", ["<p>"]).partition("<style>")[2].partition("</style>")[0]
    broken = [rule for rule in style.split("}") if "overflow-wrap: anywhere" in rule]
    assert [rule.partition("{")[0].strip() for rule in broken] == ["td:last-child"]
