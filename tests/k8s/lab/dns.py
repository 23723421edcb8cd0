"""Names of Services for the pods of the lab: python3 dns.py RUNDIR. Answers A questions, knows nothing else."""

import json
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.request

PKI = sys.argv[1] + "/pki/"
ADDRESS = ("10.244.0.1", 53)
names = {}


def api(path):
    context = ssl.create_default_context(cafile=PKI + "ca.crt")
    context.load_cert_chain(PKI + "admin.crt", PKI + "admin.key")
    with urllib.request.urlopen(
        "https://127.0.0.1:6443" + path, context=context, timeout=5
    ) as answer:
        return json.load(answer)["items"]


def look():
    """Addresses by name: a Service's own, else those of its pods."""
    pods = {}
    for each in api("/api/v1/endpoints"):
        about = each["metadata"]
        found = [a["ip"] for part in each.get("subsets") or [] for a in part.get("addresses") or []]
        pods[about["namespace"], about["name"]] = found
    found = {}
    for each in api("/api/v1/services"):
        about, own = each["metadata"], each["spec"].get("clusterIP")
        key = about["namespace"], about["name"]
        found["{1}.{0}.svc.cluster.local".format(*key)] = (
            [own] if own and own != "None" else pods.get(key, [])
        )
    names.update(found)
    for gone in names.keys() - found.keys():
        del names[gone]


def keep():
    while True:
        try:
            look()
        except (OSError, ValueError) as error:
            print("dns", error, flush=True)  # noqa: T201
        time.sleep(1)


def answer(asked):
    at, labels = 12, []
    while asked[at]:
        labels.append(asked[at + 1 : at + 1 + asked[at]].decode())
        at += asked[at] + 1
    question = asked[12 : at + 5]
    kind = struct.unpack(">H", asked[at + 1 : at + 3])[0]
    found = names.get(".".join(labels).lower())
    records = [
        b"\xc0\x0c\0\1\0\1\0\0\0\5\0\4" + socket.inet_aton(ip) for ip in found or [] if kind == 1
    ]
    flags = 0x8580 | (3 if found is None else 0)
    return (
        asked[:2]
        + struct.pack(">HHHHH", flags, 1, len(records), 0, 0)
        + question
        + b"".join(records)
    )


def main():
    threading.Thread(target=keep, daemon=True).start()
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    while True:
        try:
            server.bind(ADDRESS)
            break
        except OSError:
            time.sleep(1)  # the bridge appears with the first pod
    while True:
        asked, caller = server.recvfrom(4096)
        server.sendto(answer(asked), caller)


main()
