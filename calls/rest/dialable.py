"""Numbers however people write them, in E.164 as Twilio wants them."""

import phonenumbers
from django.conf import settings


_WRONG = {
    phonenumbers.ValidationResult.TOO_SHORT: "it has too few digits",
    phonenumbers.ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "it has too few digits",
    phonenumbers.ValidationResult.TOO_LONG: "it has too many digits",
    phonenumbers.ValidationResult.INVALID_LENGTH: "it has too few digits, or too many",
}


def e164(text: str, near: str = "") -> str:
    """One without a country code is of the country of `near`, or of DEFAULT_FROM_NUMBER. ValueError: what is wrong."""
    try:
        number = phonenumbers.parse(text, _region(near or settings.DEFAULT_FROM_NUMBER or ""))
    except phonenumbers.NumberParseException as error:
        strange = error.error_type == error.INVALID_COUNTRY_CODE and text.startswith("+")
        raise ValueError("no country has that code" if strange else "it is not a number") from None
    result = phonenumbers.is_possible_number_with_reason(number)
    if result != phonenumbers.ValidationResult.IS_POSSIBLE:
        raise ValueError(_WRONG.get(result, "it is not a number"))
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def _region(near: str) -> str | None:
    """Whose national numbers are understood: those of the country that we call from."""
    try:
        return phonenumbers.region_code_for_number(phonenumbers.parse(near))
    except phonenumbers.NumberParseException:
        return None
