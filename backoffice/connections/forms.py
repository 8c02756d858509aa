"""The form of a connection, drawn from the fields that its connector declares.

No field ever shows a secret, not even the one that was just typed.
"""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib.admin.widgets import AdminTextInputWidget
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from connectors.models import ErpConnection
from connectors.port import MODE, ConfigField, ERPConnectorPort

PREFIX = "config_"
CLEAR = "_clear"


class SecretTextarea(forms.Textarea):
    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        return super().get_context(name, None, attrs)


class ConfigForm(forms.ModelForm):  # type: ignore[type-arg]
    """Made by config_form. After cleaning, `config` and `cleared` are what services take."""

    connector: ERPConnectorPort
    stored: Mapping[str, Any]
    config: dict[str, Any]
    cleared: set[str]

    class Meta:
        model = ErpConnection
        fields = ("org", "connector_type", "active", "ack_deadline")
        help_texts = {
            "active": _("Orders cannot be pushed to an inactive connection."),
            "ack_deadline": _(
                "The ack of an export is overdue after this time: days, then "
                "hours:minutes:seconds, for example “1 00:00:00”. Empty: no deadline."
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.connector.config_form:
            if field.kind != "secret":
                stored = self.stored.get(field.name)
                self.initial.setdefault(PREFIX + field.name, _initial(field, stored))
        chosen = {MODE: self[PREFIX + MODE].value()} if PREFIX + MODE in self.fields else {}
        for field in self.connector.config_form:
            is_kept = field.kind == "secret" and field.name in self.stored
            is_required = field.is_required and field.applies_to(chosen) and not is_kept
            self.fields[PREFIX + field.name].required = is_required

    @property
    def has_changed_config(self) -> bool:
        return any(name.startswith(PREFIX) for name in self.changed_data)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        chosen = {MODE: data.get(PREFIX + MODE)}
        self.config, self.cleared = {}, set()
        for field in self.connector.config_form:
            value = data.get(PREFIX + field.name)
            is_foreign = not field.applies_to(chosen)
            if field.kind == "secret" and (is_foreign or data.get(PREFIX + field.name + CLEAR)):
                self.cleared.add(field.name)
            if field.kind == "lines":
                value = [line.strip() for line in (value or "").splitlines() if line.strip()]
            # An empty box of another mode may not be meant: leave it out.
            if not (field.kind == "boolean" and is_foreign):
                self.config[field.name] = value
        return data


def config_form(
    connector: ERPConnectorPort,
    stored: Mapping[str, Any],
    told: Mapping[str, str],
    base: type[ConfigForm] = ConfigForm,
) -> type[ConfigForm]:
    """The form class for a connector; `stored` is the configuration so far, secrets masked.

    `told` is a sentence about each secret that is set.
    """
    attributes: dict[str, Any] = {"connector": connector, "stored": stored}
    for field in connector.config_form:
        attributes[PREFIX + field.name] = _form_field(field, told.get(field.name, ""))
        if field.kind == "secret" and field.name in stored:
            attributes[PREFIX + field.name + CLEAR] = forms.BooleanField(
                label=gettext("Remove it"), required=False
            )
    return type("ConnectionForm", (base,), attributes)


def fieldsets(
    connector: ERPConnectorPort, stored: Mapping[str, Any]
) -> list[tuple[str | None, dict[str, Any]]]:
    """The fields grouped by the modes that they belong to; the mode itself comes first."""
    labels = next((dict(f.choices) for f in connector.config_form if f.name == MODE), {})
    groups: dict[frozenset[str], list[str | tuple[str, str]]] = {}
    for field in connector.config_form:
        if field.name == MODE:
            continue
        name = PREFIX + field.name
        is_clearable = field.kind == "secret" and field.name in stored
        groups.setdefault(field.modes, []).append((name, name + CLEAR) if is_clearable else name)
    own = ["org", "connector_type", "active", "ack_deadline"]
    drawn: list[tuple[str | None, dict[str, Any]]] = [
        (None, {"fields": [*own, PREFIX + MODE] if labels else own})
    ]
    for modes, names in groups.items():
        is_common = not modes or modes >= labels.keys()
        title = (
            gettext("Folders and files")
            if is_common
            else " / ".join(labels[m] for m in sorted(modes))
        )
        classes = [] if is_common else ["for-modes", *(f"for-mode-{m}" for m in sorted(modes))]
        drawn.append((title, {"fields": names, "classes": classes}))
    return drawn


def _initial(field: ConfigField, stored: Any) -> Any:
    if field.kind == "boolean":
        return field.default if stored is None else stored
    if field.kind == "choice":
        return stored or field.default or field.choices[0][0]
    return "\n".join(stored) if isinstance(stored, list | tuple) else stored


def _form_field(field: ConfigField, told: str) -> forms.Field:
    shared: dict[str, Any] = {
        "label": field.label,
        "required": False,
        "help_text": _help(field, told),
    }
    no_memory = {"autocomplete": "off", "spellcheck": "false"}
    match field.kind:
        case "choice":
            return forms.ChoiceField(choices=field.choices, **shared)
        case "boolean":
            return forms.BooleanField(**shared)
        case "integer":
            return forms.IntegerField(**shared)
        case "number":
            return forms.FloatField(**shared)
        case "secret":
            attrs = no_memory | {"autocomplete": "new-password"}
            widget = (
                SecretTextarea(attrs | {"rows": 6, "cols": 70, "class": "monospace"})
                if field.is_multiline
                else forms.PasswordInput(attrs)
            )
            # Spaces may be part of a password.
            return forms.CharField(widget=widget, strip=False, **shared)
        case "lines":
            lines = forms.Textarea(no_memory | {"rows": 3, "cols": 70, "class": "monospace"})
            return forms.CharField(widget=lines, **shared)
        case _:
            return forms.CharField(widget=AdminTextInputWidget(no_memory), **shared)


def _help(field: ConfigField, told: str) -> str:
    parts = [field.help]
    if told:
        parts.insert(0, f"{told} {gettext('Leave this empty to keep it.')}")
    elif field.default is not None and field.kind != "boolean":
        parts.append(gettext("Empty: %(default)s.") % {"default": field.default})
    return " ".join(part for part in parts if part)
