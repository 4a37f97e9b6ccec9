"""The Content-Security-Policy at work: the page needs no other host, and gets nothing from one."""

from __future__ import annotations

FOREIGN = """async () => {
    const seen = [];
    document.addEventListener('securitypolicyviolation', (event) => seen.push(event.effectiveDirective));
    const image = new Image(); image.src = 'https://example.com/x.png';
    const script = document.createElement('script'); script.src = 'https://example.com/x.js';
    document.head.append(script);
    await fetch('https://example.com/x.json').catch(() => {});
    await new Promise((done) => { script.onerror = done; });
    while (seen.length < 3) await new Promise((done) => requestAnimationFrame(done));
    return seen.sort();
}"""


def test_nothing_of_another_host_is_loaded(visit):
    page = visit()
    assert page.evaluate(FOREIGN) == ["connect-src", "img-src", "script-src-elem"]
    assert page.watch.errors, "the browser says what it refused"
    page.watch.errors.clear()
    page.watch.foreign.clear()


def test_a_frame_of_another_site_cannot_hold_the_page(visit, app):
    page = visit()
    held = page.evaluate(
        """async (url) => {
        const answer = await fetch(url);
        return answer.headers.get('content-security-policy');
    }""",
        app.url,
    )
    assert "frame-ancestors 'self' https://huggingface.co" in held
