"""Where a webhook may go: to no address of the network that the server stands in, however it is written."""

from ipaddress import ip_address

import pytest
from django.core.checks import run_checks

from calls.notices.destinations import Refused, addresses, is_public, look_up, parse


PRIVATE = """
    0.0.0.0 10.0.0.1 100.64.0.1 127.0.0.1 127.8.8.8 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.8 192.0.2.1
    192.88.99.1 192.168.1.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255
    :: ::1 ::7f00:1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:a9fe:a9fe 64:ff9b::127.0.0.1 64:ff9b::a00:1
    64:ff9b:1::808:808 100::1 2001::1 2001:db8::1 2002:7f00:1:: 2002:a00:1:: 2002:808:808:: fc00::1 fd00:ec2::254
    fe80::1 fe80::1%1 fec0::1 ff02::1 ::ffff:0:808:808 4000::1
"""
PUBLIC = "1.1.1.1 8.8.8.8 172.15.0.1 172.32.0.1 2606:4700::1111 2a00:1450::1 ::ffff:8.8.8.8 64:ff9b::808:808"


@pytest.mark.parametrize("address", PRIVATE.split())
def test_no_address_of_a_network_of_somebodys_own_is_public(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", PUBLIC.split())
def test_where_anybody_may_be_is_public(address):
    assert is_public(ip_address(address))


def test_a_url_is_read():
    found = parse("https://hooks.example.org:8443/calls?key=1")
    assert (found.host, found.port, found.target) == ("hooks.example.org", 8443, "/calls?key=1")
    assert found.host_header == "hooks.example.org:8443"
    assert parse("https://hooks.example.org").target == "/"
    assert parse("https://hooks.example.org?a=1").target == "/?a=1"
    assert parse("https://[2606:4700::1111]/").host_header == "[2606:4700::1111]"


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example.org/", "has to begin with https"),
        ("ftp://hooks.example.org/", "has to begin with https"),
        ("hooks.example.org", "has to begin with https"),
        ("", "has to begin with https"),
        ("https:///calls", "no host"),
        ("https://user:secret@hooks.example.org/", "signed instead"),
        ("https://hooks.example.org@10.0.0.1/", "signed instead"),
        ("https://hooks.example.org/#part", "#"),
        ("https://hooks.example.org:0/", "port 0"),
        ("https://hooks.example.org:99999/", "no URL"),
        ("https://[::1/", "no URL"),
        ("https://hooks.example.org/a b", "percent-encode"),
        ("https://hooks.example.org/\r\nX-Evil: 1", "percent-encode"),
        ("https://hööks.example.org/", "xn--"),
        ("https://hooks.example.org\\@10.0.0.1/", "percent-encode"),
        ("https://hooks.example.org/" + "a" * 500, "longer"),
        ("https://10.0.0.1/", "10.0.0.1 is no public address"),
        ("https://[::ffff:127.0.0.1]/", "no public address"),
        ("https://169.254.169.254/latest/meta-data", "no public address"),
    ],
)
def test_a_url_that_nothing_is_sent_to_is_refused_with_a_reason(url, why):
    with pytest.raises(Refused, match=why):
        parse(url)


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1", "localhost"])
def test_other_spellings_of_this_machine_are_looked_up_and_refused(host):
    with pytest.raises(Refused, match="no public address"):
        addresses(parse(f"https://{host}/"))


def test_one_private_address_among_public_ones_is_enough():
    with pytest.raises(Refused, match=r"hooks.example.org leads to 10.0.0.1, which is no public address"):
        addresses(parse("https://hooks.example.org/"), lambda host, port: ["8.8.8.8", "10.0.0.1"])


def test_public_addresses_are_given_as_they_were_found():
    found = addresses(parse("https://hooks.example.org/"), lambda host, port: ["8.8.8.8", "2606:4700::1111"])
    assert found == ["8.8.8.8", "2606:4700::1111"]


def test_a_setting_allows_private_addresses_and_http(settings):
    settings.WEBHOOKS_MAY_BE_PRIVATE = True
    assert addresses(parse("http://127.0.0.1:9000/")) == ["127.0.0.1"]
    with pytest.raises(Refused):
        parse("ftp://127.0.0.1/")


def test_each_address_is_given_once():
    assert look_up("127.0.0.1", 443) == ["127.0.0.1"]


def test_a_public_server_whose_webhooks_may_be_private_is_warned(settings):
    settings.WEBHOOKS_MAY_BE_PRIVATE = True
    assert "calls.W010" in [message.id for message in run_checks()]
    settings.PUBLIC_URL = "http://127.0.0.1:8000"
    assert "calls.W010" not in [message.id for message in run_checks()]
