"""`helm test`: an answer, a judgement of it, a text moderated; with a key made for it and taken back."""

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

URL, TIMEOUT_S = os.environ["HONE_URL"], float(os.environ["HONE_TIMEOUT_S"])


def hone(*words):
    done = subprocess.run(["hone", *words], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"FAIL  hone {' '.join(words)}")
    return done.stdout


def post(path, body, *, key):
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"FAIL  POST {path}: {error.code} {error.read().decode()}")
    except OSError as error:
        sys.exit(f"FAIL  POST {path}: {error}")


made = json.loads(
    hone("keys", "create", "--name", "helm test", "--scope", "infer", "--scope", "label", "--json")
)
key = made["key"]
try:
    asked = {
        "model": "policy",
        "messages": [{"role": "user", "content": "Say hello."}],
        "max_tokens": 8,
        "store": True,
    }
    answer = post("/v1/chat/completions", asked, key=key)
    print("OK    an answer by", answer["system_fingerprint"])
    thumb = {"completion_id": answer["id"], "index": 0, "thumb": "up"}
    judged = post("/v1/feedback/ratings", thumb, key=key)
    print("OK    its judgement is kept as", judged["id"])
    scored = post("/v1/moderations", {"input": "a lovely day"}, key=key)
    print("OK    a text is scored by", scored["model"], "flagged:", scored["results"][0]["flagged"])
finally:
    hone("keys", "revoke", made["id"])
