"""An identity provider made of pysaml2's Server and the standard library. Run by pysaml2.ts: argument 1 is a JSON file
with url, port, key, certificate, spMetadata (files), users and want."""

import functools
import html
import http.server
import json
import secrets
import sys
import threading
import traceback
from urllib.parse import parse_qsl, urlsplit

from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT, entity, samlp, sigver
from saml2.authn_context import PASSWORDPROTECTEDTRANSPORT
from saml2.config import IdPConfig
from saml2.metadata import entity_descriptor
from saml2.response import StatusError
from saml2.s_utils import status_message_factory
from saml2.saml import NAME_FORMAT_URI, NAMEID_FORMAT_PERSISTENT, NameID
from saml2.server import Server
from saml2.xmldsig import DIGEST_SHA256, SIG_RSA_SHA256

with open(sys.argv[1], encoding="utf-8") as file:
    settings = json.load(file)
url, want = settings["url"], settings["want"]
users = {user["name"]: user for user in settings["users"]}


def config(**differing):
    both = lambda path: [(url + path, BINDING_HTTP_REDIRECT), (url + path, BINDING_HTTP_POST)]
    idp = {
        "endpoints": {"single_sign_on_service": both("/sso"), "single_logout_service": both("/slo")},
        "policy": {"default": {"lifetime": {"minutes": 15}, "name_form": NAME_FORMAT_URI, "nameid_format": NAMEID_FORMAT_PERSISTENT}},
        "name_id_format": [NAMEID_FORMAT_PERSISTENT],
        # For an SP that asks for NameIDs that look like addresses.
        "domain": "pysaml2.example",
        # They count in this place only; elsewhere they are ignored, and it signs with SHA-1.
        "signing_algorithm": SIG_RSA_SHA256,
        "digest_algorithm": DIGEST_SHA256,
        "sign_response": want["signResponse"],
        "sign_assertion": want["signAssertion"],
        "encrypt_assertion": want["encryptAssertion"],
    }
    return IdPConfig().load({
        "entityid": url + "/metadata",
        "service": {"idp": {**idp, **differing}},
        "metadata": {"local": [settings["spMetadata"]]},
        "key_file": settings["key"],
        "cert_file": settings["certificate"],
        "xmlsec_binary": "/usr/bin/xmlsec1",
    })


# pysaml2 would refuse every request over HTTP-Redirect if the Server itself had this option, since it looks for the
# signature in the XML only; so the metadata tells of it, and check() sees to it.
metadata = str(entity_descriptor(config(want_authn_requests_signed=want["requestsSigned"])))
idp = Server(config=config())
# pysaml2 encrypts with 3DES-CBC and has no option for another algorithm. The key travels by RSA-OAEP already.
entity.pre_encryption_part = functools.partial(sigver.pre_encryption_part, msg_enc="http://www.w3.org/2009/xmlenc11#aes256-gcm")
idp.sec.encrypt_assertion = functools.partial(idp.sec.encrypt_assertion, key_type="aes-256")
if want["encryptAssertion"] and not all(map(idp.has_encrypt_cert_in_metadata, idp.metadata.keys())):
    # Else it would quietly send the assertion as plain text, and unsigned.
    sys.exit("the service provider's metadata has no certificate to encrypt to")

lock = threading.Lock()
pending = {}  # login form's key -> what asked for it
sessions = {}  # cookie -> {"user", "sp", "name_id", "indexes"}
leaving = set()  # ids of our LogoutRequests that have no answer yet


class Refused(Exception):
    pass


def check(fields, binding, message, required):
    """The signature of a message: in the XML for HTTP-POST (pysaml2 has verified it by now), in the URL for HTTP-Redirect."""
    if binding == BINDING_HTTP_POST:
        if required and not message.signature:
            raise Refused("the message is not signed")
    elif "Signature" in fields:
        signed = {name: fields[name] for name in ("SAMLRequest", "SAMLResponse", "RelayState", "SigAlg", "Signature") if name in fields}
        certificates = idp.metadata.certs(message.issuer.text.strip(), "any", "signing")
        if not any(sigver.verify_redirect_signature(dict(signed), idp.sec.sec_backend, cert) for cert in certificates):
            raise Refused("the signature is wrong")
    elif required:
        raise Refused("the message is not signed")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(BINDING_HTTP_REDIRECT, dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True)))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        self.answer(BINDING_HTTP_POST, dict(parse_qsl(body, keep_blank_values=True)))

    def answer(self, binding, fields):
        pages = {"/metadata": self.metadata, "/sso": self.sso, "/login": self.login, "/slo": self.slo, "/start-logout": self.start_logout}
        page = pages.get(urlsplit(self.path).path)
        try:
            with lock:
                if page:
                    page(binding, fields)
                else:
                    self.send(404, "there is no such page")
        except Exception as error:
            traceback.print_exc()
            self.send(400, f"refused: {html.escape(type(error).__name__)}: {html.escape(str(error))}")

    def metadata(self, _binding, _fields):
        self.send(200, metadata, [("content-type", "application/samlmetadata+xml")])

    def sso(self, binding, fields):
        request = idp.parse_authn_request(fields["SAMLRequest"], binding).message
        check(fields, binding, request, want["requestsSigned"])
        _, acs = idp.pick_binding("assertion_consumer_service", [BINDING_HTTP_POST], request=request)
        asked = {"request": request, "acs": acs, "relay_state": fields.get("RelayState", "")}
        session = sessions.get(self.cookie())
        if session and request.force_authn != "true":
            return self.assertion(asked, session)
        key = secrets.token_hex(16)
        pending[key] = asked
        self.login_form(200, key)

    def login(self, _binding, fields):
        user = users.get(fields["username"])
        if not user or user["password"] != fields["password"]:
            return self.login_form(401, fields["key"])
        cookie = secrets.token_hex(16)
        sessions[cookie] = {"user": user, "indexes": []}
        self.assertion(pending.pop(fields["key"]), sessions[cookie], [("set-cookie", f"pysaml2={cookie}; Path=/; HttpOnly")])

    def login_form(self, status, key):
        self.send(status, f"""<h1>pysaml2</h1><form method="post" action="/login"><input type="hidden" name="key" value="{html.escape(key)}">
<input name="username"> <input name="password" type="password"> <button>Sign in</button></form>""")

    def assertion(self, asked, session, headers=()):
        """The page that takes the user, now known, back to the service provider."""
        request, user = asked["request"], session["user"]
        sp = request.issuer.text.strip()
        given = user.get("nameId") and NameID(format=NAMEID_FORMAT_PERSISTENT, text=user["nameId"])
        known = len(idp.session_db.assertion)
        response = idp.create_authn_response(
            user["attributes"], request.id, asked["acs"], sp, name_id_policy=request.name_id_policy, userid=user["name"],
            name_id=given or None, authn={"class_ref": PASSWORDPROTECTEDTRANSPORT, "authn_auth": url},
        )
        if len(idp.session_db.assertion) > known:
            # It may be encrypted in the response, so its copy tells what a LogoutRequest has to name.
            assertion = list(idp.session_db.assertion.values())[-1][0]
            session.update(sp=sp, name_id=assertion.subject.name_id)
            session["indexes"].append(assertion.authn_statement[0].session_index)
        self.bound(idp.apply_binding(BINDING_HTTP_POST, str(response), asked["acs"], asked["relay_state"], response=True), headers)

    def slo(self, binding, fields):
        if "SAMLResponse" in fields:
            return self.logged_out(binding, fields)
        request = idp.parse_logout_request(fields["SAMLRequest"], binding).message
        check(fields, binding, request, True)
        sp, indexes = request.issuer.text.strip(), {one.text for one in request.session_index}
        ended = [
            cookie for cookie, session in sessions.items()
            if session.get("sp") == sp and session["name_id"].text == request.name_id.text and (not indexes or indexes & set(session["indexes"]))
        ]
        for cookie in ended:
            del sessions[cookie]
        status = None if ended else status_message_factory("there is no such session", samlp.STATUS_UNKNOWN_PRINCIPAL)
        _, destination = idp.pick_binding("single_logout_service", [binding], "spsso", entity_id=sp)
        response = idp.create_logout_response(request, [binding], status, sign=binding == BINDING_HTTP_POST)
        self.bound(idp.apply_binding(binding, str(response), destination, fields.get("RelayState", ""), response=True, sign=True))

    def start_logout(self, _binding, fields):
        session = sessions.pop(self.cookie(), None)
        if not session:
            raise Refused("nobody is signed in here")
        binding = BINDING_HTTP_POST if fields.get("binding") == "post" else BINDING_HTTP_REDIRECT
        services = idp.metadata.single_logout_service(session["sp"], binding, "spsso")
        destination = services[0]["location"]
        mid, request = idp.create_logout_request(
            destination, session["sp"], name_id=session["name_id"], session_indexes=session["indexes"], sign=binding == BINDING_HTTP_POST
        )
        leaving.add(mid)
        self.bound(idp.apply_binding(binding, str(request), destination, fields.get("RelayState", ""), sign=True))

    def logged_out(self, binding, fields):
        fields.pop("SAMLRequest", None)  # Else its signature would be taken for the answer's.
        try:
            idp.parse_logout_request_response(fields["SAMLResponse"], binding)
        except StatusError:
            pass  # It is told below; the signature was looked at before the status.
        response = samlp.logout_response_from_string(idp.unravel(fields["SAMLResponse"], binding))
        check(fields, binding, response, True)
        if response.in_response_to not in leaving:
            raise Refused(f"there is no request {response.in_response_to}")
        if response.destination != url + "/slo":
            raise Refused(f"the answer is for {response.destination}")
        leaving.remove(response.in_response_to)
        codes = [response.status.status_code, response.status.status_code.status_code]
        self.send(200, "<p>logged out: " + html.escape(" ".join(code.value for code in codes if code)) + "</p>")

    def cookie(self):
        pairs = (pair.strip().split("=", 1) for pair in self.headers.get("cookie", "").split(";") if "=" in pair)
        return dict(pairs).get("pysaml2")

    def bound(self, answer, headers=()):
        """Sends what pysaml2's apply_binding made: a redirect, or a page with a form that submits itself."""
        self.send(answer["status"], answer["data"] or "", [*answer["headers"], *headers])

    def send(self, status, body, headers=()):
        data = body.encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name.lower() == "content-type" for name, _ in headers):
            self.send_header("content-type", "text/html; charset=utf-8")
        self.send_header("cache-control", "no-store")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_arguments):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", settings["port"]), Handler).serve_forever()
