"""Pages of templates, blocks and pictures, as owner, teammate and outsider."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from apps.accounts.models import User, Workspace
from apps.campaigns.models import Campaign
from apps.content.models import Block, Editor, Picture, Template
from apps.content.services import pictures
from apps.content.services.blocks import create_block
from apps.content.services.templates import create_template
from tests.support.factories import make_campaign, make_contact
from tests.support.pictures import picture_file

ClientOf = Callable[[User], Client]
PAGE = "/w/shop/templates/"
MJML = (
    "<mjml><mj-body><mj-section><mj-column><mj-text>Hello {{ first_name }}</mj-text>"
    "</mj-column></mj-section></mj-body></mjml>"
)
JSON = {"Accept": "application/json"}


@pytest.fixture
def template(workspace: Workspace, owner: User) -> Template:
    return create_template(
        workspace=workspace, by=owner, name="Autumn", editor=Editor.BUILDER, design=MJML
    )


@pytest.fixture
def block(workspace: Workspace) -> Block:
    return create_block(
        workspace=workspace, name="Footer", kind="mjml", source="<mj-text>Bye</mj-text>"
    )


@pytest.fixture
def picture(workspace: Workspace) -> Picture:
    return pictures.add_picture(workspace=workspace, file=BytesIO(picture_file()), name="a.png")


@pytest.fixture
def draft(workspace: Workspace) -> Campaign:
    return make_campaign(workspace, editor="builder", design=MJML)


@pytest.fixture
def client(teammate: User, client_of: ClientOf) -> Client:
    return client_of(teammate)


def test_pages_are_for_members(
    template: Template,
    block: Block,
    picture: Picture,
    draft: Campaign,
    owner: User,
    teammate: User,
    outsider: User,
    client_of: ClientOf,
) -> None:
    shown = [f"{template.pk}/{page}" for page in ("", "preview/", "builder/", "mode/", "delete/")]
    shown += ["", "new/", "starters/welcome/preview/", "blocks/", "blocks/new/"]
    shown += [f"blocks/{block.pk}/", f"blocks/{block.pk}/delete/", "media/", "media/picker/"]
    shown += [f"media/{picture.pk}/", f"media/{picture.pk}/delete/"]
    pages = [PAGE + page for page in shown]
    pages += [
        f"/w/shop/campaigns/{draft.pk}/{page}/"
        for page in ("builder", "mode", "start-from", "save-template")
    ]
    for page in pages:
        assert client_of(owner).get(page).status_code == 200, page
        assert client_of(teammate).get(page).status_code == 200, page
        assert client_of(outsider).get(page).status_code == 404, page
        assert Client().get(page).status_code == 302, page


def test_outsiders_change_nothing(
    template: Template,
    block: Block,
    picture: Picture,
    draft: Campaign,
    outsider: User,
    client_of: ClientOf,
) -> None:
    client = client_of(outsider)
    models = (Template, Block, Picture, Campaign)
    before = [list(model.objects.order_by("pk").values()) for model in models]
    values = {"name": "x", "design": "<p>", "editor": "html", "starter": "sale", "kind": "html"}
    for prefix in ("/w/shop/templates/", "/w/elsewhere/templates/"):
        pages = [f"{template.pk}/{page}" for page in ("", "builder/", "mode/", "copy/", "delete/")]
        pages += [f"blocks/{block.pk}/", f"blocks/{block.pk}/delete/"]
        pages += [f"media/{picture.pk}/{page}" for page in ("", "crop/", "delete/")]
        for page in pages:
            assert client.post(prefix + page, values).status_code == 404, page
    for page in ("new/", "blocks/new/", "blocks/save/", "media/upload/"):
        assert client.post(PAGE + page, values).status_code == 404
    for prefix in ("/w/shop/campaigns/", "/w/elsewhere/campaigns/"):
        for page in ("builder", "mode", "start-from", "save-template"):
            assert client.post(f"{prefix}{draft.pk}/{page}/", values).status_code == 404, page
        assert client.post(f"{prefix}from-template/{template.pk}/").status_code == 404
    own = make_campaign(Workspace.objects.get(slug="elsewhere"))
    foreign = client.post(
        f"/w/elsewhere/campaigns/{own.pk}/start-from/", {"template": str(template.pk)}
    )
    assert foreign.status_code == 404
    own.delete()
    assert before == [list(model.objects.order_by("pk").values()) for model in models]


def test_begin_with_each_starter(client: Client, workspace: Workspace) -> None:
    from apps.content import starters

    for starter in starters.all_starters():
        assert client.get(f"{PAGE}starters/{starter.slug}/preview/").status_code == 200
        response = client.post(f"{PAGE}new/", {"starter": starter.slug})
        template = Template.objects.latest("pk")
        assert response.headers["Location"] == f"{PAGE}{template.pk}/"
        assert "{{ unsubscribe_url }}" in template.html
        assert client.get(f"{PAGE}{template.pk}/builder/").status_code == 200


@pytest.mark.parametrize("editor", Editor.values)
def test_begin_with_an_empty_letter(client: Client, editor: str) -> None:
    client.post(f"{PAGE}new/", {"name": "Mine", "editor": editor})
    template = Template.objects.get()
    assert template.editor == editor
    assert client.get(f"{PAGE}{template.pk}/").status_code == 200


def saved(template: Template, **values: str) -> dict[str, str]:
    return {"name": template.name, "version": template.updated_at.isoformat()} | values


def test_save_by_itself_and_a_second_tab(client: Client, workspace: Workspace) -> None:
    template = create_template(workspace=workspace, by=None, name="M", editor="mjml", design=MJML)
    url = f"{PAGE}{template.pk}/"
    longer = MJML.replace("Hello", "Good day")
    first = client.post(url, saved(template, design=longer), headers=JSON)
    assert first.status_code == 200
    second = client.post(url, saved(template, design=MJML), headers=JSON)
    assert second.status_code == 409
    template.refresh_from_db()
    assert "Good day" in template.html
    # Without scripts the page says so, and its next save goes through.
    stale = client.post(url, saved(template, design=MJML, version="2001"))
    assert stale.status_code == 409
    assert template.updated_at.isoformat() in stale.content.decode()
    again = client.post(url, saved(template, design=MJML, version=first.json()["version"]))
    assert again.status_code == 302


def test_a_fault_is_said_with_its_line_and_nothing_is_lost(
    client: Client, workspace: Workspace
) -> None:
    template = create_template(workspace=workspace, by=None, name="M", editor="mjml", design=MJML)
    broken = MJML.replace("<mj-text>", "\n\n<mj-txt>")
    answer = client.post(f"{PAGE}{template.pk}/", saved(template, design=broken), headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["error"]["message"].startswith("Line 3: ")
    template.refresh_from_db()
    assert template.design == MJML
    page = client.post(f"{PAGE}{template.pk}/", saved(template, design=broken))
    assert "Line 3:" in page.content.decode()
    assert "mj-txt" in page.content.decode()
    preview = client.post(f"{PAGE}{template.pk}/preview/", {"design": broken})
    assert "Line 3:" in preview.content.decode()


def test_preview_is_of_a_contact_and_may_run_nothing(
    client: Client, template: Template, workspace: Workspace, outsider: User
) -> None:
    make_contact(workspace, "vera@example.com", first_name="<b>Vera</b>")
    make_contact(Workspace.objects.get(slug="elsewhere"), "theirs@example.com", first_name="Secret")
    url = f"{PAGE}{template.pk}/preview/"
    assert (
        "Hello &lt;b&gt;Vera"
        in client.get(url, {"preview_as": "VERA@example.com"}).content.decode()
    )
    assert "Secret" not in client.get(url, {"preview_as": "theirs@example.com"}).content.decode()
    policy = client.get(url).headers["Content-Security-Policy"]
    assert policy.startswith("sandbox ")
    assert "default-src 'none'" in policy
    assert "script" not in policy


def test_html_by_hand_can_be_emptied(client: Client, workspace: Workspace) -> None:
    template = create_template(workspace=workspace, by=None, name="H", editor="html", html="<p>a")
    client.post(f"{PAGE}{template.pk}/", saved(template, html=""))
    template.refresh_from_db()
    assert template.html == ""
    client.post(f"{PAGE}{template.pk}/", saved(template, name="Renamed"))
    template.refresh_from_db()
    assert template.name == "Renamed"


def test_preview_in_dark_mode(client: Client, workspace: Workspace) -> None:
    html = "<style>@media (Prefers-Color-Scheme:dark) { p { color: red } }</style><p>x</p>"
    template = create_template(workspace=workspace, by=None, name="D", editor="html", html=html)
    url = f"{PAGE}{template.pk}/preview/"
    assert "@media (Prefers" in client.get(url).content.decode()
    assert "@media (min-width: 0) {" in client.get(url, {"dark": "1"}).content.decode()


def test_the_builder_saves_and_only_its_page_has_inline_styles(
    client: Client, template: Template
) -> None:
    url = f"{PAGE}{template.pk}/builder/"
    page = client.get(url)
    policy = page.headers["Content-Security-Policy"]
    assert "style-src 'self' 'unsafe-inline';" in policy + ";"
    assert "unsafe-eval" not in policy
    assert "script-src 'self' 'nonce-" in policy
    assert "unsafe-inline" not in client.get(PAGE).headers["Content-Security-Policy"]
    # As a browser serialises a Liquid tag in text.
    design = MJML.replace(
        "{{ first_name }}", '{% if a &gt; 1 %}{{ b | default:&nbsp;"c" }}{% endif %}'
    )
    version = template.updated_at.isoformat()
    answer = client.post(url, {"version": version, "design": design}, headers=JSON)
    assert answer.status_code == 200
    template.refresh_from_db()
    assert answer.json()["version"] == template.updated_at.isoformat()
    assert '{% if a > 1 %}{{ b | default: "c" }}{% endif %}' in template.html
    late = client.post(url, {"version": version, "design": MJML}, headers=JSON)
    assert late.status_code == 409


def test_go_on_in_another_way(client: Client, template: Template) -> None:
    for editor in ("mjml", "rich", "html", "builder", "html", "rich", "mjml"):
        page = client.get(f"{PAGE}{template.pk}/mode/").content.decode()
        assert "kept" in page
        client.post(f"{PAGE}{template.pk}/mode/", {"editor": editor})
        template.refresh_from_db()
        assert template.editor == editor
        assert "Hello {{ first_name }}" in template.html
    client.post(f"{PAGE}{template.pk}/mode/", {"editor": "word"}, headers=JSON)
    template.refresh_from_db()
    assert template.editor == "mjml"


def test_copy_search_and_delete(client: Client, template: Template) -> None:
    client.post(f"{PAGE}{template.pk}/copy/")
    copy = Template.objects.latest("pk")
    assert (copy.name, copy.design) == ("Autumn (copy)", template.design)
    assert "Autumn (copy)" in client.get(PAGE, {"search": "COPY"}).content.decode()
    assert "No template" in client.get(PAGE, {"search": "winter"}).content.decode()
    client.post(f"{PAGE}{copy.pk}/delete/")
    assert list(Template.objects.all()) == [template]


def test_from_a_template_to_a_campaign_and_back(
    client: Client, template: Template, workspace: Workspace
) -> None:
    response = client.post(f"/w/shop/campaigns/from-template/{template.pk}/")
    campaign = Campaign.objects.get()
    assert response.headers["Location"] == f"/w/shop/campaigns/{campaign.pk}/edit/"
    assert (campaign.editor, campaign.design, campaign.html) == (
        template.editor,
        template.design,
        template.html,
    )
    client.post(f"/w/shop/campaigns/{campaign.pk}/start-from/", {"starter": "sale"})
    campaign.refresh_from_db()
    assert "AUTUMN20" in campaign.html
    client.post(f"/w/shop/campaigns/{campaign.pk}/save-template/", {"name": "Sale of ours"})
    assert Template.objects.get(name="Sale of ours").html == campaign.html
    client.post(f"/w/shop/campaigns/{campaign.pk}/start-from/", {"template": str(template.pk)})
    campaign.refresh_from_db()
    assert campaign.html == template.html


def test_blocks(client: Client, block: Block) -> None:
    values = {"name": "Footer", "kind": "mjml", "source": "<mj-text>Bye</mj-text>"}
    assert client.post(f"{PAGE}blocks/new/", values).status_code == 422
    assert client.post(f"{PAGE}blocks/new/", values | {"name": "Row"}).status_code == 302
    broken = values | {"source": "<mj-txt>Bye</mj-txt>"}
    assert "Line 1:" in client.post(f"{PAGE}blocks/{block.pk}/", broken).content.decode()
    assert client.post(f"{PAGE}blocks/{block.pk}/", values | {"name": "End"}).status_code == 302
    answer = client.post(f"{PAGE}blocks/save/", values | {"name": "Kept"}, headers=JSON)
    assert answer.status_code == 201
    assert "Kept" in client.get(f"{PAGE}blocks/").content.decode()
    client.post(f"{PAGE}blocks/{block.pk}/delete/")
    assert set(Block.objects.values_list("name", flat=True)) == {"Row", "Kept"}


def test_upload_once_and_twice(client: Client, workspace: Workspace) -> None:
    def upload(data: bytes, name: str = "logo.png") -> None:
        client.post(f"{PAGE}media/upload/", {"files": SimpleUploadedFile(name, data)})

    upload(picture_file())
    upload(picture_file(), "again.png")
    [picture] = Picture.objects.all()
    assert picture.name == "logo.png"
    upload(b"<svg onload=alert(1)>", "x.png")
    assert Picture.objects.count() == 1
    assert "not a picture" in client.get(f"{PAGE}media/").content.decode()
    picked = client.get(f"{PAGE}media/picker/").content.decode()
    assert f'data-picture-url="{picture.url}"' in picked


def test_the_same_picture_in_two_workspaces_is_two(workspace: Workspace, outsider: User) -> None:
    other = Workspace.objects.get(slug="elsewhere")
    ours = pictures.add_picture(workspace=workspace, file=BytesIO(picture_file()), name="a")
    theirs = pictures.add_picture(workspace=other, file=BytesIO(picture_file()), name="a")
    pictures.delete_picture(picture=theirs)
    assert ours.key != theirs.key
    assert Client().get(f"/m/{ours.path}").status_code == 200


def test_a_picture_is_served_to_everybody(picture: Picture) -> None:
    response = Client().get(f"/m/{picture.path}")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "image/png"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "immutable" in response.headers["Cache-Control"]
    assert "Set-Cookie" not in response.headers
    assert "Cookie" not in response.headers.get("Vary", "")
    body = b"".join(response.streaming_content)  # type: ignore[attr-defined]
    assert len(body) == picture.size
    for path in (
        f"/m/{'a' * 22}.png",
        f"/m/{picture.key}.jpg",
        "/m/../settings.py",
        f"/m/{picture.key}.svg",
    ):
        assert Client().get(path).status_code == 404


def test_describe_crop_and_delete(client: Client, picture: Picture, workspace: Workspace) -> None:
    url = f"{PAGE}media/{picture.pk}/"
    client.post(url, {"name": "Logo", "alt": "Our   logo"})
    picture.refresh_from_db()
    assert (picture.name, picture.alt) == ("Logo", "Our logo")
    part = {"left": 0, "top": 0, "width": 32, "height": 24, "to_width": 16}
    client.post(f"{url}crop/", part)
    made = Picture.objects.latest("pk")
    assert (made.width, made.height, made.alt) == (16, 12, "Our logo")
    assert client.post(f"{url}crop/", part | {"width": "x"}).status_code == 422
    make_campaign(workspace, name="Uses it", html=f'<img src="{picture.url}">')
    create_template(workspace=workspace, by=None, name="Too", editor="html", html=picture.url)
    asked = client.get(f"{url}delete/").content.decode()
    assert "campaign “Uses it”" in asked
    assert "template “Too”" in asked


@pytest.mark.django_db(transaction=True)
def test_a_deleted_picture_is_gone(picture: Picture, owner: User, client_of: ClientOf) -> None:
    client_of(owner).post(f"{PAGE}media/{picture.pk}/delete/")
    assert Client().get(f"/m/{picture.path}").status_code == 404
