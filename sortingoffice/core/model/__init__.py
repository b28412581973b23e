"""The office's nouns, as frozen values.

One dataclass per table: `store.schema` has the same columns, and a test holds the two
together.  Times are aware UTC.  `id` is 0 until the row is stored.  Addresses are normal
forms (`Address.normal`) unless a field says "as written".  Each subject has a room; here
all of them stand together.

Sources: RFC 5598 (roles).
"""

from sortingoffice.core.model.accounts import (
    Account,
    AccountState,
    AppPassword,
    DkimKey,
    Domain,
    FromForm,
    Mailbox,
    MailboxState,
)
from sortingoffice.core.model.cards import (
    Card,
    CardField,
    Confirmation,
    Disclosure,
    DisclosureItem,
    FieldType,
    FieldVersion,
    Grant,
    GrantMode,
    InboundDirective,
    Sensitivity,
    Via,
    View,
)
from sortingoffice.core.model.events import Event
from sortingoffice.core.model.mail import (
    Attempt,
    Delivery,
    DeliveryState,
    Direction,
    Envelope,
    Peer,
    SpooledMessage,
)
from sortingoffice.core.model.relationships import (
    Alias,
    AliasState,
    Binding,
    Contact,
    Reference,
    Relationship,
    RelationshipState,
    RemoteImages,
    Strangers,
    Unsubscribe,
    VendorKind,
)

__all__ = [
    "Account",
    "AccountState",
    "Alias",
    "AliasState",
    "AppPassword",
    "Attempt",
    "Binding",
    "Card",
    "CardField",
    "Confirmation",
    "Contact",
    "Delivery",
    "DeliveryState",
    "Direction",
    "Disclosure",
    "DisclosureItem",
    "DkimKey",
    "Domain",
    "Envelope",
    "Event",
    "FieldType",
    "FieldVersion",
    "FromForm",
    "Grant",
    "GrantMode",
    "InboundDirective",
    "Mailbox",
    "MailboxState",
    "Peer",
    "Reference",
    "Relationship",
    "RelationshipState",
    "RemoteImages",
    "Sensitivity",
    "SpooledMessage",
    "Strangers",
    "Unsubscribe",
    "VendorKind",
    "Via",
    "View",
]
