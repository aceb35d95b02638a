"""The `[web]` section: where `elcano tui --web` may be reached."""

from ipaddress import ip_address

from pydantic import BaseModel, ConfigDict, Field, field_validator


class WebSettings(BaseModel):
    """The terminal in a browser, `elcano tui --web`.

    It speaks HTTP without encryption, and whoever has the address that it prints is let in: for other machines put a
    server with TLS and a login before it, which hands on to 127.0.0.1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    addresses: tuple[str, ...] = Field(
        default=(),
        examples=[["10.1.2.3"]],
        description="Addresses other than this machine's loopback that --host may name. None: it serves this machine "
        "only.",
    )

    @field_validator("addresses")
    @classmethod
    def _check(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for address in addresses:
            try:
                ip_address(address)
            except ValueError as error:
                raise ValueError(f"{address!r} is not an IP address, such as 10.1.2.3") from error
        return addresses


def is_loopback(address: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
