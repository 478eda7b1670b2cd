"""Who we are to S3: keys from the keyring when they are named, else whatever boto3 finds."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from d6tstore.credentials import Credentials
from d6tstore.errors import BackendError, CredentialsError
from d6tstore_plugins.cloud.address import Address

_DEFAULT = "us-east-1"
_STYLES = {True: "path", False: "virtual", None: "auto"}


class Service(NamedTuple):
    """Where requests go, and the file of those who sign its certificate (None: those that the system knows)."""

    endpoint: str
    region: str
    path_style: bool
    ca: str | None


class Session:
    """Keys and service of an address, resolved when they are needed.

    Args:
        address: of the objects.
        credentials: with the fields `access_key`, `secret_key`, and for temporary keys `session_token`.
        place: how messages name it.
    """

    def __init__(self, address: Address, credentials: Credentials, place: str) -> None:
        self._address, self._credentials, self._place = address, credentials, place

    def boto(self, **given: Any) -> Any:
        """A client of boto3. Raises BackendError: there is no such profile."""
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError

        address = self._address
        style = True if address.path_style is None and address.endpoint else address.path_style
        config: dict[str, Any] = {
            "s3": {"addressing_style": _STYLES[style]},
            "retries": {"mode": "standard", "total_max_attempts": 6},
        }
        if address.anonymous:
            config["signature_version"] = UNSIGNED
        config.update(given)
        with self._credentials.guard():
            try:
                return self._made(address.region).client(
                    "s3",
                    endpoint_url=address.endpoint,
                    verify=address.ca,
                    config=Config(**config),
                    **self._own(("aws_access_key_id", "aws_secret_access_key", "aws_session_token")),
                )
            except BotoCoreError as exc:
                raise not_signed_in(self._place, exc) from None

    def _made(self, region: str | None = None) -> Any:
        """A session of boto3. Raises BackendError: there is no such profile."""
        import boto3
        from botocore.exceptions import ProfileNotFound

        try:
            return boto3.Session(profile_name=self._address.profile, region_name=region)
        except ProfileNotFound as exc:
            raise BackendError(f"{self._place}: {exc}. `aws configure list-profiles` tells which there are.") from None

    def _own(self, names: tuple[str, str, str]) -> dict[str, str]:
        """Keys from the keyring or the environment, by these names; none if nothing names them."""
        if self._credentials.name is None or self._address.anonymous:
            return {}
        found = [
            self._credentials.get("access_key"),
            self._credentials.get("secret_key"),
            self._credentials.find("session_token"),
        ]
        return {name: secret.reveal() for name, secret in zip(names, found, strict=True) if secret is not None}

    def service(self) -> Service:
        """Where requests go, by the address and the settings of boto3 (variables, `~/.aws/config`)."""
        address = self._address
        endpoint, region, ca = self._said() or self._settings()
        style = address.path_style
        if style is None:  # The certificate of AWS is for one name before its own: not for a bucket with a dot.
            style = ".amazonaws.com" not in endpoint or "." in address.bucket
        return Service(endpoint, region, style, ca)

    def _said(self) -> tuple[str, str, str | None] | None:
        """Endpoint, region and certificates, if boto3 needs not be asked, which takes it a third of a second."""
        address, ca = self._address, self._address.ca or os.environ.get("AWS_CA_BUNDLE")
        if self._profile or not (address.endpoint and address.region):
            return None
        return (address.endpoint, address.region, ca) if ca or address.endpoint.startswith("http://") else None

    def _settings(self) -> tuple[str, str, str | None]:
        from botocore.session import Session as Settings

        address, meta = self._address, self.boto().meta
        ca = address.ca or Settings(profile=address.profile).get_config_variable("ca_bundle")
        return meta.endpoint_url, meta.region_name or _DEFAULT, ca

    @property
    def _profile(self) -> str | None:
        """The profile of boto3's that was chosen."""
        return self._address.profile or os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE")

    def _variables(self) -> dict[str, Any] | None:
        """Keys in the environment, which boto3 takes first when no profile is chosen."""
        found = {name: os.environ.get(f"AWS_{name.upper()}") for name in ("access_key_id", "secret_access_key")}
        if self._profile or not all(found.values()) or "AWS_CREDENTIAL_EXPIRATION" in os.environ:
            return None
        token = os.environ.get("AWS_SESSION_TOKEN") or os.environ.get("AWS_SECURITY_TOKEN")
        return {**found, "token": token, "expires_at": None}

    def keys(self) -> dict[str, Any] | None:
        """Keys as the Rust client takes them, with the time when to ask again; None: requests are not signed.

        Raises:
            CredentialsError: nobody gave any.
        """
        if self._address.anonymous:
            return None
        if self._credentials.name is not None:
            return {**self._own(("access_key_id", "secret_access_key", "token")), "expires_at": None}
        if (found := self._variables()) is not None:
            return found
        from datetime import UTC, datetime, timedelta

        from botocore.exceptions import BotoCoreError

        try:
            held = self._made().get_credentials()
            frozen = held and held.get_frozen_credentials()
        except BotoCoreError as exc:
            raise not_signed_in(self._place, exc) from None
        if frozen is None:
            raise nobody(self._place)
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.now(UTC) + timedelta(minutes=10),  # boto3 itself renews what ends earlier
        }


def nobody(place: str) -> CredentialsError:
    """The error for requests that nobody gave keys for."""
    return CredentialsError(
        f"{place}: nothing says who you are. Store keys: d6tstore credentials set NAME access_key (and secret_key), "
        "and name them in a profile; or use `aws configure`, or anonymous=true for a public bucket."
    )


def not_signed_in(place: str, exc: BaseException) -> CredentialsError:
    """The error for what boto3 says when its own ways to know us fail."""
    return CredentialsError(f"{place}: {exc}. Sign in again (`aws sso login`), or correct what `~/.aws/config` says.")
