//! The probes: which arguments (`HOOK~` before those of a hook), a harmless text as a literal, and code with `$x` for the text. `SMTP` and `HTTP` are ports on this
//! machine, `FOLDER` a folder, `KEY` one to sign with.

pub type Probe = (&'static str, &'static str, &'static str);

/// What they give holds no CR, LF or NUL.
pub const VALUES: &[Probe] = &[
    ("base32_encode.string", "\"a\"", "base32_encode($x)"),
    ("base64_encode.string", "\"a\"", "base64_encode($x)"),
    ("base64url_encode.string", "\"a\"", "base64url_encode($x)"),
    ("url_encode.string", "\"a\"", "url_encode($x)"),
    ("xtext_encode.text", "\"a\"", "xtext_encode($x)"),
    (
        "mimeword_encode.string",
        "\"a\"",
        "mimeword_encode($x) . mimeword_encode(\"\\xc3\\xa5\" . $x)",
    ),
    ("json_encode.value", "\"a\"", "json_encode([$x => $x])"),
    (
        "envelope_address_parse.address",
        "\"a\"",
        "envelope_address_parse($x . \"@example.com\")",
    ),
    (
        "envelope_address_parse.address",
        "\"a\"",
        "envelope_address_parse(\"a@\" . $x . \".example\")",
    ),
    (
        "envelope_address_parse.address",
        "\"\"",
        "envelope_address_parse(\"<a@example.com>\" . $x)",
    ),
    (
        "envelope_address_parse.address",
        "\"a\"",
        "envelope_address_parse(''\"'' . $x . ''\"@example.com'')",
    ),
    (
        "envelope_localpart_escape.localpart",
        "\"a\"",
        "envelope_localpart_escape($x)",
    ),
    (
        "header_addresslist_compile.addresses",
        "\"a\"",
        "header_addresslist_compile([[\"name\" => $x, \"address\" => \"a@b\"], [\"name\" => \"\\xc3\\xa5\" . $x, \"address\" => $x], $x, \
         ''\"'' . $x . ''\"@example.com''])",
    ),
    (
        "header_addresslist_extract.value",
        "\"a\"",
        "header_addresslist_extract(''\"'' . $x . ''\"@example.com, '' . $x . ''@example.com'')",
    ),
    (
        "GetAddressList.value",
        "\"a\"",
        "GetAddressList(''\"'' . $x . ''\"@example.com'')",
    ),
    (
        "inet_reverse.ip",
        "\"192.0.2.1\"",
        "inet_reverse($x, \"example.com\")",
    ),
    (
        "inet_reverse.zone",
        "\"example\"",
        "inet_reverse(\"192.0.2.1\", $x)",
    ),
    ("inet_ntop.ip", "\"abcd\"", "inet_ntop($x)"),
    (
        "url_parse.url",
        "\"a\"",
        "url_parse(\"http://example.com/\" . $x)",
    ),
    (
        "url_parse.url",
        "\"a\"",
        "url_parse(\"http://\" . $x . \"/\")",
    ),
    (
        "url_parse.url",
        "\"a\"",
        "url_parse(\"http://\" . $x . \"@example.com/?\" . $x . \"#\" . $x)",
    ),
    (
        "url_parse.url",
        "\"\"",
        "url_parse($x . \"http://example.com/\")",
    ),
    (
        "idna_encode.domain",
        "\"a\"",
        "idna_encode($x . \".example\")",
    ),
    (
        "idna_encode.domain",
        "\"a\"",
        "idna_encode(\"\\xc3\\xa5\" . $x . \".example\")",
    ),
    (
        "idna_decode.domain",
        "\"a\"",
        "idna_decode($x . \".example\")",
    ),
    (
        "idna_decode.domain",
        "\"a\"",
        "idna_decode(\"xn--bcher-kva.\" . $x)",
    ),
    (
        "domain_publicsuffix.domain",
        "\"a\"",
        "domain_publicsuffix($x . \".com\")",
    ),
    (
        "uuidv5.value",
        "\"a\"",
        "uuidv5(\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\", $x)",
    ),
    (
        "dns_query.host",
        "\"a\"",
        "dns_query($x . \".example\", [\"servers\" => [\"127.0.0.1\"], \"port\" => 9, \"timeout\" => 0.1])",
    ),
    (
        "dns.host",
        "\"a\"",
        "dns($x . \".example\", [\"servers\" => [\"127.0.0.1\"], \"timeout\" => 0.1])",
    ),
    (
        "dns4.host",
        "\"a\"",
        "dns4($x . \".example\", [\"servers\" => [\"127.0.0.1\"], \"timeout\" => 0.1])",
    ),
    (
        "dns6.host",
        "\"a\"",
        "dns6($x . \".example\", [\"servers\" => [\"127.0.0.1\"], \"timeout\" => 0.1])",
    ),
    (
        "dnsmx.host",
        "\"a\"",
        "dnsmx($x . \".example\", [\"servers\" => [\"127.0.0.1\"], \"timeout\" => 0.1])",
    ),
    (
        "dnstxt.host",
        "\"a\"",
        "dnstxt($x . \".example\", [\"servers\" => [\"127.0.0.1\"], \"timeout\" => 0.1])",
    ),
    (
        "dnscname.host",
        "\"a\"",
        "dnscname($x . \".example\", [\"servers\" => [\"127.0.0.1\"], \"timeout\" => 0.1])",
    ),
    (
        "dnsns.host",
        "\"a\"",
        "dnsns($x . \".example\", [\"servers\" => [\"127.0.0.1\"], \"timeout\" => 0.1])",
    ),
    (
        "dnsptr.ip",
        "\"192.0.2.1\"",
        "dnsptr($x, [\"servers\" => [\"127.0.0.1\"], \"timeout\" => 0.1])",
    ),
    (
        "dnsbl.ip",
        "\"192.0.2.1\"",
        "dnsbl($x, \"bl.example\", [\"127.0.0.1\"], 0.1)",
    ),
    (
        "dnsbl.hostname",
        "\"a\"",
        "dnsbl(\"192.0.2.1\", $x . \".example\", [\"127.0.0.1\"], 0.1)",
    ),
    (
        "spf_query.helo",
        "\"a\"",
        "spf_query(\"192.0.2.1\", $x . \".example\", \"\", [\"servers\" => [\"127.0.0.1\"], \"timeout\" => 0.1])",
    ),
    (
        "spf_query.sender",
        "\"a\"",
        "spf_query(\"192.0.2.1\", \"h.example\", $x . \"@\" . $x . \".example\", [\"servers\" => [\"127.0.0.1\"], \"timeout\" => 0.1])",
    ),
    (
        "spf.helo",
        "\"a\"",
        "spf(\"192.0.2.1\", $x . \".example\", \"d.example\", [\"servers\" => [\"127.0.0.1\"], \"timeout\" => 0.1])",
    ),
    (
        "spf.domain",
        "\"a\"",
        "spf(\"192.0.2.1\", \"h.example\", $x . \".example\", [\"servers\" => [\"127.0.0.1\"], \"timeout\" => 0.1])",
    ),
    ("File.file", "\"a\"", "File($x) === none ? \"\" : $x"),
    (
        "File::read.filename",
        "\"a\"",
        "File::read($x) === none ? \"\" : $x",
    ),
    (
        "file_get_contents.filename",
        "\"a\"",
        "file_get_contents($x) == \"\" ? \"\" : $x",
    ),
    ("file.filename", "\"a\"", "file($x) == [] ? \"\" : $x"),
    (
        "in_file.filename",
        "\"a\"",
        "in_file(\"text\", $x) == [] ? \"\" : $x",
    ),
    (
        "Socket.bind.address",
        "\"a\"",
        "Socket(\"AF_UNIX\", \"SOCK_STREAM\")->bind(\"FOLDER/b-\" . $x) === none ? \"\" : $x",
    ),
    (
        "Socket.connect.address",
        "\"a\"",
        "Socket(\"AF_UNIX\", \"SOCK_STREAM\")->connect(\"FOLDER/c-\" . $x) === none ? \"\" : $x",
    ),
];

/// What they give is a message with the header that it would have with a harmless text.
pub const MESSAGES: &[Probe] = &[
    (
        "MIME.addHeader.name",
        "\"A\"",
        "MIME()->addHeader($x, \"v\")->toString()",
    ),
    (
        "MIME.addHeader.value",
        "\"a\"",
        "MIME()->addHeader(\"X\", $x)->addHeader(\"From\", $x)->toString()",
    ),
    (
        "MIME.addHeader.value",
        "\"a\"",
        "MIME()->addHeader(\"X\", $x, [\"encoding\" => \"base64\"])->toString()",
    ),
    (
        "MIME.addHeader.value",
        "\"a\"",
        "MIME()->addHeader(\"X\", $x, [\"encode\" => false])->toString()",
    ),
    (
        "MIME.addHeader.value",
        "\"a/b\"",
        "MIME()->addHeader(\"Content-Type\", $x, [\"encode\" => false])->toString()",
    ),
    (
        "MIME.addHeader.value",
        "\"7bit\"",
        "MIME()->addHeader(\"Content-Transfer-Encoding\", $x, [\"encode\" => false])->setBody(\"x\")->toString()",
    ),
    (
        "MIME.addHeader[encoding]",
        "\"base64\"",
        "MIME()->addHeader(\"X\", \"\\xc3\\xa5\", [\"encoding\" => $x])->toString()",
    ),
    (
        "MIME.setType.type",
        "\"a/b\"",
        "MIME()->setType($x)->toString()",
    ),
    (
        "MIME.setType.type",
        "\"a\"",
        "MIME()->setType(\"text/plain; x=\" . $x)->toString()",
    ),
    (
        "MIME.setBoundary.boundary",
        "\"a\"",
        "MIME()->setBoundary($x)->appendPart(MIME())->toString()",
    ),
    (
        "MIME.setFileName.filename",
        "\"a\"",
        "MIME()->setFileName($x)->toString()",
    ),
    (
        "MIME.setFileName.filename",
        "\"a\"",
        "MIME()->setFileName(\"\\xc3\\xa5\" . $x)->toString()",
    ),
    (
        "MIME.setDisposition.type",
        "\"inline\"",
        "MIME()->setDisposition($x)->toString()",
    ),
    (
        "MIME.signDKIM.selector",
        "\"s\"",
        "MIME()->addHeader(\"From\", \"a@b\")->signDKIM($x, \"d.test\", \"KEY\", [\"algorithm\" => \"ed25519-sha256\"])->toString()",
    ),
    (
        "MIME.signDKIM.domain",
        "\"d.test\"",
        "MIME()->addHeader(\"From\", \"a@b\")->signDKIM(\"s\", $x, \"KEY\", [\"algorithm\" => \"ed25519-sha256\"])->toString()",
    ),
    (
        "MIME.signDKIM[identity]",
        "\"@d.test\"",
        "MIME()->addHeader(\"From\", \"a@b\")->signDKIM(\"s\", \"d.test\", \"KEY\", [\"algorithm\" => \"ed25519-sha256\", \"identity\" => $x])->toString()",
    ),
    (
        "MIME.signDKIM[additional_headers] MIME.signDKIM[oversign_headers]",
        "\"X\"",
        "MIME()->addHeader(\"From\", \"a@b\")->signDKIM(\"s\", \"d.test\", \"KEY\", [\"algorithm\" => \"ed25519-sha256\", \"additional_headers\" => [$x], \"oversign_headers\" => [$x]])->toString()",
    ),
    (
        "MIME.signDKIM[headers]",
        "\"From\"",
        "MIME()->addHeader(\"From\", \"a@b\")->signDKIM(\"s\", \"d.test\", \"KEY\", [\"algorithm\" => \"ed25519-sha256\", \"headers\" => [\"From\", $x]])->toString()",
    ),
    (
        "MIME.signDKIM[algorithm]",
        "\"ed25519-sha256\"",
        "MIME()->addHeader(\"From\", \"a@b\")->signDKIM(\"s\", \"d.test\", \"KEY\", [\"algorithm\" => $x])->toString()",
    ),
    (
        "MIME.signDKIM[canonicalization_header] MIME.signDKIM[canonicalization_body]",
        "\"simple\"",
        "MIME()->addHeader(\"From\", \"a@b\")->signDKIM(\"s\", \"d.test\", \"KEY\", [\"algorithm\" => \"ed25519-sha256\", \"canonicalization_header\" => $x, \"canonicalization_body\" => $x])->toString()",
    ),
    (
        "MIMEPart.addHeader.name",
        "\"A\"",
        "changed(function ($m) closure ($x) { $m->addHeader($x, \"v\"); })",
    ),
    (
        "MIMEPart.addHeader.value",
        "\"a\"",
        "changed(function ($m) closure ($x) { $m->addHeader(\"X\", $x); })",
    ),
    (
        "MIMEPart.addHeader.value",
        "\"a\"",
        "changed(function ($m) closure ($x) { $m->addHeader(\"X\", $x, [\"encode\" => false]); })",
    ),
    (
        "MIMEPart.addHeader[encoding]",
        "\"base64\"",
        "changed(function ($m) closure ($x) { $m->addHeader(\"X\", \"\\xc3\\xa5\", [\"encoding\" => $x]); })",
    ),
    (
        "MIMEPart.setHeader.name",
        "\"A\"",
        "changed(function ($m) closure ($x) { $m->setHeader($x, \"v\"); })",
    ),
    (
        "MIMEPart.setHeader.value",
        "\"a\"",
        "changed(function ($m) closure ($x) { $m->setHeader(\"Subject\", $x); })",
    ),
    (
        "MIMEPart.setHeader.value",
        "\"a\"",
        "changed(function ($m) closure ($x) { $m->setHeader(\"Subject\", $x, [\"encode\" => false]); })",
    ),
    (
        "MIMEPart.setHeader.value",
        "\"a/b\"",
        "changed(function ($m) closure ($x) { $m->setHeader(\"Content-Type\", $x); })",
    ),
    (
        "MIMEPart.setHeader[encoding]",
        "\"base64\"",
        "changed(function ($m) closure ($x) { $m->setHeader(\"Subject\", \"\\xc3\\xa5\", [\"encoding\" => $x]); })",
    ),
    (
        "MIMEPart.renameHeader.newname",
        "\"A\"",
        "changed(function ($m) closure ($x) { $m->renameHeader(\"Subject\", $x); })",
    ),
    (
        "MIMEPart.setBody[encoding]",
        "\"base64\"",
        "changed(function ($m) closure ($x) { $m->setBody(\"x\", [\"encoding\" => $x]); })",
    ),
    (
        "MIMEPart.appendPart[type]",
        "\"multipart/mixed\"",
        "changed(function ($m) closure ($x) { $m->appendPart(MIME()->setBody(\"x\"), [\"type\" => $x]); })",
    ),
    (
        "MIMEPart.appendPart[type]",
        "\"a\"",
        "changed(function ($m) closure ($x) { $m->appendPart(MIME()->setBody(\"x\"), [\"type\" => \"multipart/mixed; x=\" . $x]); })",
    ),
    (
        "MIMEPart.prependPart[type]",
        "\"multipart/mixed\"",
        "changed(function ($m) closure ($x) { $m->prependPart(MIME()->setBody(\"x\"), [\"type\" => $x]); })",
    ),
    (
        "MailMessage.signDKIM.selector",
        "\"s\"",
        "signed(function ($m) closure ($x) { $m->signDKIM($x, \"d.test\", \"KEY\", [\"algorithm\" => \"ed25519-sha256\"]); })",
    ),
    (
        "MailMessage.signDKIM.domain",
        "\"d.test\"",
        "signed(function ($m) closure ($x) { $m->signDKIM(\"s\", $x, \"KEY\", [\"algorithm\" => \"ed25519-sha256\"]); })",
    ),
    (
        "MailMessage.signDKIM[identity]",
        "\"@d.test\"",
        "signed(function ($m) closure ($x) { $m->signDKIM(\"s\", \"d.test\", \"KEY\", [\"algorithm\" => \"ed25519-sha256\", \"identity\" => $x]); })",
    ),
    (
        "MailMessage.signDKIM[additional_headers] MailMessage.signDKIM[oversign_headers] MailMessage.signDKIM[headers]",
        "\"From\"",
        "signed(function ($m) closure ($x) { $m->signDKIM(\"s\", \"d.test\", \"KEY\", [\"algorithm\" => \"ed25519-sha256\", \"additional_headers\" => [$x], \"oversign_headers\" => [$x]]); $m->signDKIM(\"s\", \"d.test\", \"KEY\", [\"algorithm\" => \"ed25519-sha256\", \"headers\" => [$x]]); })",
    ),
    (
        "MailMessage.signDKIM[canonicalization_header] MailMessage.signDKIM[canonicalization_body]",
        "\"simple\"",
        "signed(function ($m) closure ($x) { $m->signDKIM(\"s\", \"d.test\", \"KEY\", [\"algorithm\" => \"ed25519-sha256\", \"canonicalization_header\" => $x, \"canonicalization_body\" => $x]); })",
    ),
    (
        "DKIMSign.selector DKIMSign.domain DKIMSign[identity]",
        "\"s.test\"",
        "string(DKIMSign($x, $x, \"KEY\", [\"algorithm\" => \"ed25519-sha256\", \"identity\" => \"@\" . $x, \"return_header\" => true]))",
    ),
    (
        "DKIMSign[additional_headers] DKIMSign[oversign_headers] DKIMSign[headers]",
        "\"From\"",
        "string(DKIMSign(\"s\", \"d.test\", \"KEY\", [\"algorithm\" => \"ed25519-sha256\", \"additional_headers\" => [$x], \"oversign_headers\" => [$x], \"headers\" => [$x], \"return_header\" => true]))",
    ),
    (
        "MailMessage.signDKIM[algorithm]",
        "\"ed25519-sha256\"",
        "signed(function ($m) closure ($x) { $m->signDKIM(\"s\", \"d.test\", \"KEY\", [\"algorithm\" => $x]); })",
    ),
    (
        "DKIMSign[algorithm]",
        "\"ed25519-sha256\"",
        "string(DKIMSign(\"s\", \"d.test\", \"KEY\", [\"algorithm\" => $x, \"return_header\" => true]))",
    ),
    (
        "DKIMSign[canonicalization_header] DKIMSign[canonicalization_body]",
        "\"simple\"",
        "string(DKIMSign(\"s\", \"d.test\", \"KEY\", [\"algorithm\" => \"ed25519-sha256\", \"canonicalization_header\" => $x, \"canonicalization_body\" => $x, \"return_header\" => true]))",
    ),
];

/// What they say to servers and to the log is looked through.
pub const CALLS: &[Probe] = &[
    ("http.url", "\"a\"", "http(\"http://127.0.0.1:HTTP/\" . $x)"),
    (
        "http.url",
        "\"\"",
        "http(\"http://\" . $x . \"127.0.0.1:HTTP/\")",
    ),
    (
        "http.url",
        "\"u\"",
        "http(\"http://\" . $x . \":p@127.0.0.1:HTTP/?q=\" . $x)",
    ),
    (
        "http.get",
        "\"a\"",
        "http(\"http://127.0.0.1:HTTP/$1?q=$2\", [], [$x, $x])",
    ),
    (
        "http.post",
        "\"a\"",
        "http(\"http://127.0.0.1:HTTP/\", [], [], [$x => \"v\"])",
    ),
    (
        "http[method]",
        "\"PUT\"",
        "http(\"http://127.0.0.1:HTTP/\", [\"method\" => $x])",
    ),
    (
        "http[headers]",
        "\"X-A: b\"",
        "http(\"http://127.0.0.1:HTTP/\", [\"headers\" => [$x]])",
    ),
    (
        "http[headers]",
        "\"a\"",
        "http(\"http://127.0.0.1:HTTP/\", [\"headers\" => [\"X-A: \" . $x]])",
    ),
    (
        "http[headers]",
        "\"a\"",
        "http(\"http://127.0.0.1:HTTP/\", [\"headers\" => [\"X\" . $x . \": y\"]])",
    ),
    (
        "http[proxy]",
        "\"a\"",
        "http(\"http://host.example/\", [\"proxy\" => \"http://\" . $x . \":p@127.0.0.1:HTTP/\"])",
    ),
    (
        "http[unix_socket_path]",
        "\"a\"",
        "http(\"http://host.example/\", [\"unix_socket_path\" => \"FOLDER/\" . $x])",
    ),
    (
        "http[sourceip]",
        "\"127.0.0.1\"",
        "http(\"http://127.0.0.1:HTTP/\", [\"sourceip\" => $x])",
    ),
    ("syslog.message", "\"a\"", "syslog(\"info\", $x)"),
    ("syslog.priority", "\"info\"", "syslog($x, \"m\")"),
    (
        "queue_suspend.fields queue_suspend[tag] queue_suspend[id] queue_suspend[properties]",
        "\"a\"",
        "queue_suspend([\"jobid\" => $x], 1, [\"tag\" => str_slice($x, 0, 24), \"id\" => $x, \"properties\" => [$x => $x]])",
    ),
    (
        "queue_policy.fields queue_policy.condition queue_policy.policy queue_policy[id] queue_policy[type] queue_policy[policy.tag] queue_policy[policy.properties]",
        "\"a\"",
        "queue_policy([\"jobid\"], [\"jobid\" => $x], [\"concurrency\" => 1, \"tag\" => $x, \"properties\" => [$x => $x]], 1, [\"id\" => $x, \"type\" => $x])",
    ),
    (
        "PickupSuspend.fields PickupSuspend[tag] PickupSuspend[id] PickupSuspend[properties]",
        "\"a\"",
        "PickupSuspend([\"jobid\" => $x], 1, [\"tag\" => str_slice($x, 0, 24), \"id\" => $x, \"properties\" => [$x => $x]])",
    ),
    (
        "PickupPolicy.fields PickupPolicy.condition PickupPolicy.policy PickupPolicy[id] PickupPolicy[type] PickupPolicy[policy.tag] PickupPolicy[policy.properties]",
        "\"a\"",
        "PickupPolicy([\"jobid\"], [\"jobid\" => $x], [\"concurrency\" => 1, \"tag\" => $x, \"properties\" => [$x => $x]], 1, [\"id\" => $x, \"type\" => $x])",
    ),
    (
        "queue_policy_delete.id queue_quota.name server_concurrency.serverid server_concurrency.address",
        "\"a\"",
        "[queue_policy_delete($x), queue_quota($x), server_concurrency($x), server_concurrency(\"default\", $x)]",
    ),
    (
        "smtp_lookup_rcpt.server smtp_lookup_auth.server MIME.send.server MailMessage.send.server",
        "\"sink\"",
        "refusals([function () closure ($x) { return smtp_lookup_rcpt($x, \"a@b.c\", \"d@e.f\"); }, function () closure ($x) { return smtp_lookup_auth($x, \"u\", \"p\"); }, function () closure ($x) { return MIME()->send(\"a@b.c\", [\"d@e.f\"], $x); }, function () closure ($x) { return message()->send(\"a@b.c\", [\"d@e.f\"], $x); }])",
    ),
    (
        "smtp_lookup_rcpt.sender",
        "\"a\"",
        "smtp_lookup_rcpt([\"host\" => \"127.0.0.1\", \"port\" => SMTP], $x . \"@b.c\", \"d@e.f\")",
    ),
    (
        "smtp_lookup_rcpt.sender",
        "\"a\"",
        "smtp_lookup_rcpt([\"host\" => \"127.0.0.1\", \"port\" => SMTP], [\"localpart\" => $x, \"domain\" => $x . \".c\"], \"d@e.f\")",
    ),
    (
        "smtp_lookup_rcpt.sender",
        "\"a\"",
        "smtp_lookup_rcpt([\"host\" => \"127.0.0.1\", \"port\" => SMTP], [\"localpart\" => \"a\", \"domain\" => \"b.c\", \"params\" => [\"X\" => $x]], \"d@e.f\")",
    ),
    (
        "smtp_lookup_rcpt.sender",
        "\"X\"",
        "smtp_lookup_rcpt([\"host\" => \"127.0.0.1\", \"port\" => SMTP], [\"localpart\" => \"a\", \"domain\" => \"b.c\", \"params\" => [$x => \"1\"]], \"d@e.f\")",
    ),
    (
        "smtp_lookup_rcpt.recipient",
        "\"a\"",
        "smtp_lookup_rcpt([\"host\" => \"127.0.0.1\", \"port\" => SMTP], \"a@b.c\", $x . \"@e.f\")",
    ),
    (
        "smtp_lookup_rcpt.recipient",
        "\"a\"",
        "smtp_lookup_rcpt([\"host\" => \"127.0.0.1\", \"port\" => SMTP], \"a@b.c\", [\"localpart\" => $x, \"domain\" => \"e.f\", \"params\" => [\"X\" => $x]])",
    ),
    (
        "smtp_lookup_auth.username smtp_lookup_auth.password",
        "\"a\"",
        "smtp_lookup_auth([\"host\" => \"127.0.0.1\", \"port\" => SMTP], $x, $x)",
    ),
    (
        "MIME.send.sender",
        "\"a\"",
        "MIME()->send($x . \"@b.c\", [\"d@e.f\"], [\"host\" => \"127.0.0.1\", \"port\" => SMTP])",
    ),
    (
        "MIME.send.sender",
        "\"a\"",
        "MIME()->send([\"localpart\" => $x, \"domain\" => $x . \".c\"], [\"d@e.f\"], [\"host\" => \"127.0.0.1\", \"port\" => SMTP])",
    ),
    (
        "MIME.send.sender",
        "\"a\"",
        "MIME()->send([\"localpart\" => \"a\", \"domain\" => \"b.c\", \"params\" => [\"X\" => $x]], [\"d@e.f\"], [\"host\" => \"127.0.0.1\", \"port\" => SMTP])",
    ),
    (
        "MIME.send.sender",
        "\"ENVID\"",
        "MIME()->send([\"localpart\" => \"a\", \"domain\" => \"b.c\", \"params\" => [$x => \"1\"]], [\"d@e.f\"], [\"host\" => \"127.0.0.1\", \"port\" => SMTP])",
    ),
    (
        "MIME.send.recipients",
        "\"a\"",
        "MIME()->send(\"a@b.c\", [$x . \"@e.f\"], [\"host\" => \"127.0.0.1\", \"port\" => SMTP])",
    ),
    (
        "MIME.send.recipients",
        "\"a\"",
        "MIME()->send(\"a@b.c\", [[\"localpart\" => $x, \"domain\" => \"e.f\", \"params\" => [\"ORCPT\" => $x]]], [\"host\" => \"127.0.0.1\", \"port\" => SMTP])",
    ),
    (
        "MailMessage.send.sender",
        "\"a\"",
        "message()->send($x . \"@b.c\", [\"d@e.f\"], [\"host\" => \"127.0.0.1\", \"port\" => SMTP])",
    ),
    (
        "MailMessage.send.recipients",
        "\"a\"",
        "message()->send(\"a@b.c\", [$x . \"@e.f\"], [\"host\" => \"127.0.0.1\", \"port\" => SMTP])",
    ),
    (
        "MIME.queue.sender MailMessage.queue.sender EODMailMessage.queue.sender",
        "\"a\"",
        "refusals([function () closure ($x) { return MIME()->queue($x . \"@b.c\", \"d@e.f\", \"sink\"); }, function () closure ($x) { return message()->queue([\"localpart\" => $x, \"domain\" => \"b.c\"], \"d@e.f\", \"sink\"); }, function () closure ($x, $eod) { return $eod->queue([\"localpart\" => \"a\", \"domain\" => $x . \".c\"], \"d@e.f\", \"sink\"); }])",
    ),
    (
        "MIME.queue.recipient MailMessage.queue.recipient EODMailMessage.queue.recipient",
        "\"a\"",
        "refusals([function () closure ($x) { return MIME()->queue(\"a@b.c\", $x . \"@e.f\", \"sink\"); }, function () closure ($x) { return message()->queue(\"a@b.c\", [\"localpart\" => $x, \"domain\" => \"e.f\"], \"sink\"); }, function () closure ($x, $eod) { return $eod->queue(\"a@b.c\", [\"localpart\" => \"a\", \"domain\" => $x . \".f\"], \"sink\"); }])",
    ),
    (
        "MIME.queue.transportid MailMessage.queue.transportid EODMailMessage.queue.transportid",
        "\"sink\"",
        "refusals([function () closure ($x) { return MIME()->queue(\"a@b.c\", \"d@e.f\", $x); }, function () closure ($x) { return message()->queue(\"a@b.c\", \"d@e.f\", $x); }, function () closure ($x, $eod) { return $eod->queue(\"a@b.c\", \"d@e.f\", $x); }])",
    ),
    (
        "mail.sender",
        "\"a\"",
        "mail($x . \"@b.c\", \"d@e.f\", \"s\", \"b\", \"sink\")",
    ),
    (
        "mail.recipient",
        "\"a\"",
        "mail(\"a@b.c\", $x . \"@e.f\", \"s\", \"b\", \"sink\")",
    ),
    (
        "mail.subject",
        "\"a\"",
        "mail(\"a@b.c\", \"d@e.f\", $x, \"b\", \"sink\")",
    ),
    (
        "mail.transportid",
        "\"sink\"",
        "mail(\"a@b.c\", \"d@e.f\", \"s\", \"b\", $x)",
    ),
    (
        "mail[sender_name] mail[recipient_name]",
        "\"a\"",
        "mail(\"a@b.c\", \"d@e.f\", \"s\", \"b\", \"sink\", [\"sender_name\" => $x, \"recipient_name\" => $x])",
    ),
    (
        "mail[headers]",
        "\"a\"",
        "mail(\"a@b.c\", \"d@e.f\", \"s\", \"b\", \"sink\", [\"headers\" => [\"X-A\" => $x]])",
    ),
    (
        "mail[headers]",
        "\"X\"",
        "mail(\"a@b.c\", \"d@e.f\", \"s\", \"b\", \"sink\", [\"headers\" => [$x => \"v\"]])",
    ),
    (
        "mail[metadata] mail[jobid] mail[quotas]",
        "\"a\"",
        "mail(\"a@b.c\", \"d@e.f\", \"s\", \"b\", \"sink\", [\"metadata\" => [$x => $x], \"jobid\" => $x, \"quotas\" => [$x]])",
    ),
    ("eod~History.action", "\"DELETE\"", "History($x, \"a@b.c\")"),
    (
        "eod~History.recipient",
        "\"a\"",
        "History(\"DELETE\", $x . \"@b.c\")",
    ),
    (
        "eod~History[sender]",
        "\"a\"",
        "History(\"DELETE\", \"a@b.c\", [\"sender\" => $x . \"@b.c\"])",
    ),
    (
        "eod~History[metadata] eod~History[transportid] eod~History[reason]",
        "\"a\"",
        "History(\"DELETE\", \"a@b.c\", [\"metadata\" => [$x => $x], \"transportid\" => $x, \"reason\" => $x])",
    ),
];

/// Functions that take a server: `MEMBERS` are those of its array.
pub const SERVERS: &[(&str, &str)] = &[
    (
        "MIME.send",
        "MIME()->send(\"a@b.c\", [\"d@e.f\"], [MEMBERS])",
    ),
    (
        "MailMessage.send",
        "message()->send(\"a@b.c\", [\"d@e.f\"], [MEMBERS])",
    ),
    (
        "smtp_lookup_rcpt",
        "smtp_lookup_rcpt([MEMBERS], \"a@b.c\", \"d@e.f\")",
    ),
    (
        "smtp_lookup_auth",
        "smtp_lookup_auth([MEMBERS], \"u\", \"p\")",
    ),
];

/// Members of a server: the name, a harmless text, and the value.
pub const SERVER_OPTIONS: &[Probe] = &[
    ("host", "\"127.0.0.1\"", "$x"),
    ("helo", "\"helo.example\"", "$x"),
    ("sourceip", "\"127.0.0.1\"", "$x"),
    ("saslusername", "\"u\"", "$x, \"saslpassword\" => \"p\""),
    ("saslpassword", "\"p\"", "$x, \"saslusername\" => \"u\""),
    ("tls", "\"disabled\"", "$x"),
    ("tls_sni", "\"a.example\"", "$x, \"tls\" => \"optional\""),
    ("protocol", "\"smtp\"", "$x"),
    // Refused for now, whatever it holds.
    ("xclient", "none", "[\"NAME\" => $x]"),
];

/// Functions that queue: `OPTIONS` are theirs.
pub const QUEUES: &[(&str, &str)] = &[
    (
        "MIME.queue",
        "MIME()->queue(\"a@b.c\", \"d@e.f\", \"sink\", OPTIONS)",
    ),
    (
        "MailMessage.queue",
        "message()->queue(\"a@b.c\", \"d@e.f\", \"sink\", OPTIONS)",
    ),
    (
        "EODMailMessage.queue",
        "$arguments[\"mail\"]->queue(\"a@b.c\", \"d@e.f\", \"sink\", OPTIONS)",
    ),
];

/// Options of the queue.
pub const QUEUE_OPTIONS: &[Probe] = &[
    ("metadata", "\"a\"", "[$x => $x]"),
    ("jobid", "\"a\"", "$x"),
    ("tenantid", "\"a\"", "$x"),
    ("quotas", "\"a\"", "[$x]"),
    ("dsn", "\"a\"", "[\"envid\" => $x]"),
    ("dsn", "\"a\"", "[\"orcpt\" => \"rfc822;\" . $x . \"@b.c\"]"),
    ("dsn", "\"NEVER\"", "[\"notify\" => $x]"),
    ("dsn", "\"FULL\"", "[\"ret\" => $x]"),
];

/// The hook, the arguments, and a statement that ends it.
pub const HOOKS: &[Probe] = &[
    (
        "eodrcpt",
        "AddHeader.name",
        "AddHeader($x, \"v\"); Deliver();",
    ),
    (
        "eodrcpt",
        "AddHeader.value",
        "AddHeader(\"X-A\", $x); Deliver();",
    ),
    (
        "eodrcpt",
        "AppendHeader.name",
        "AppendHeader($x, \"v\"); Deliver();",
    ),
    (
        "eodrcpt",
        "AppendHeader.value",
        "AppendHeader(\"Subject\", $x); Deliver();",
    ),
    (
        "eodrcpt",
        "PrependHeader.name",
        "PrependHeader($x, \"v\"); Deliver();",
    ),
    (
        "eodrcpt",
        "PrependHeader.value",
        "PrependHeader(\"Subject\", $x); Deliver();",
    ),
    (
        "eodrcpt",
        "SetHeader.name",
        "SetHeader($x, \"v\"); Deliver();",
    ),
    (
        "eodrcpt",
        "SetHeader.value",
        "SetHeader(\"Subject\", $x); Deliver();",
    ),
    ("eodrcpt", "Defer.reason", "Defer($x);"),
    ("eodrcpt", "Reject.reason", "Reject([$x, $x]);"),
    ("eodrcpt", "Deliver[reason]", "Deliver([\"reason\" => $x]);"),
    (
        "eodrcpt",
        "Deliver[recipient]",
        "Deliver([\"recipient\" => [\"localpart\" => $x, \"domain\" => \"b.example\"]]);",
    ),
    (
        "eodrcpt",
        "Deliver[recipient]",
        "Deliver([\"recipient\" => $x . \"@b.example\", \"queue\" => false]);",
    ),
    (
        "eodrcpt",
        "Deliver[transportid]",
        "Deliver([\"transportid\" => $x]);",
    ),
    (
        "eodrcpt",
        "Deliver[jobid] Deliver[metadata] Deliver[quotas]",
        "Deliver([\"jobid\" => $x, \"metadata\" => [$x => $x], \"quotas\" => [$x]]);",
    ),
    (
        "eodrcpt",
        "Quarantine.quarantineid Quarantine[jobid] Quarantine[metadata] Quarantine[quotas]",
        "Quarantine($x, [\"reject\" => false, \"jobid\" => $x, \"metadata\" => [$x => $x], \"quotas\" => [$x]]);",
    ),
    (
        "eodrcpt",
        "Quarantine[reason]",
        "Quarantine(\"q\", [\"reason\" => $x]);",
    ),
    (
        "eodrcpt",
        "Quarantine[recipient]",
        "Quarantine(\"q\", [\"recipient\" => [\"localpart\" => $x, \"domain\" => \"b.example\"]]);",
    ),
    (
        "eodrcpt",
        "Quarantine[transportid]",
        "Quarantine(\"q\", [\"transportid\" => $x]);",
    ),
    (
        "eodrcpt",
        "SetMailTransport.id",
        "SetMailTransport($x); Deliver();",
    ),
    (
        "eodrcpt",
        "SetMetaData.metadata",
        "SetMetaData([$x => $x]); Deliver();",
    ),
    (
        "eodrcpt",
        "SetRecipient.recipient",
        "SetRecipient([\"localpart\" => $x, \"domain\" => \"b.example\"]); Deliver();",
    ),
    (
        "eodrcpt",
        "SetSender.sender",
        "SetSender([\"localpart\" => $x, \"domain\" => \"b.example\"]); Deliver([\"queue\" => false]);",
    ),
    (
        "eodrcpt",
        "SetSender.sender",
        "SetSender($x . \"@b.example\"); Deliver();",
    ),
    (
        "eodrcpt",
        "SetSenderHELO.hostname",
        "SetSenderHELO($x); Deliver();",
    ),
    ("eodrcpt", "SetSenderIP.ip", "SetSenderIP($x); Deliver();"),
    ("connect", "Accept[reason]", "Accept([\"reason\" => $x]);"),
    (
        "connect",
        "Accept[remoteptr]",
        "Accept([\"remoteptr\" => $x]);",
    ),
    (
        "connect",
        "Accept[remoteip]",
        "Accept([\"remoteip\" => $x]);",
    ),
    ("connect", "Reject.reason", "Reject($x);"),
    ("connect", "Reject.reason", "Reject([$x, $x]);"),
    ("connect", "Defer.reason", "Defer($x);"),
    ("helo", "Accept[reason]", "Accept([\"reason\" => $x]);"),
    ("helo", "Accept[host]", "Accept([\"host\" => $x]);"),
    (
        "helo",
        "Accept[extensions]",
        "Accept([\"extensions\" => [$x, \"SIZE \" . $x]]);",
    ),
    ("helo", "Reject.reason", "Reject($x);"),
    ("helo", "Defer.reason", "Defer([$x, $x]);"),
    ("auth", "Accept[username]", "Accept([\"username\" => $x]);"),
    ("auth", "Accept[reason]", "Accept([\"reason\" => $x]);"),
    ("auth", "Reply.reply", "Reply($x);"),
    ("auth", "Reject.reason", "Reject($x);"),
    ("auth", "Defer.reason", "Defer($x);"),
    (
        "mailfrom",
        "Accept[sender]",
        "Accept([\"sender\" => $x . \"@b.c\"]);",
    ),
    (
        "mailfrom",
        "Accept[sender]",
        "Accept([\"sender\" => [\"localpart\" => $x, \"domain\" => $x . \".c\"]]);",
    ),
    ("mailfrom", "Accept[reason]", "Accept([\"reason\" => $x]);"),
    ("mailfrom", "Reject.reason", "Reject($x);"),
    ("mailfrom", "Defer.reason", "Defer($x);"),
    (
        "rcptto",
        "Accept[recipient]",
        "Accept([\"recipient\" => $x . \"@b.c\"]);",
    ),
    (
        "rcptto",
        "Accept[recipient]",
        "Accept([\"recipient\" => [\"localpart\" => $x, \"domain\" => \"b.c\"]]);",
    ),
    (
        "rcptto",
        "Accept[transportid]",
        "Accept([\"transportid\" => $x]);",
    ),
    ("rcptto", "Accept[reason]", "Accept([\"reason\" => $x]);"),
    ("rcptto", "Reject.reason", "Reject($x);"),
    ("rcptto", "Defer.reason", "Defer($x);"),
    ("eod", "Accept.reason", "Accept($x);"),
    ("eod", "Accept[reason]", "Accept([\"reason\" => [$x, $x]]);"),
    (
        "eod",
        "Accept[metadata]",
        "Accept([\"metadata\" => [$x => $x]]);",
    ),
    ("eod", "Reject.reason", "Reject($x);"),
    ("eod", "Defer.reason", "Defer([$x, $x]);"),
    (
        "proxy",
        "Pass[command]",
        "Pass([\"command\" => \"NOOP \" . $x]);",
    ),
    ("proxy", "Reply.reason", "Reply($x);"),
    ("predelivery", "Try[host]", "Try([\"host\" => $x]);"),
    ("predelivery", "Try[helo]", "Try([\"helo\" => $x]);"),
    ("predelivery", "Try[protocol]", "Try([\"protocol\" => $x]);"),
    (
        "predelivery",
        "Try[sender]",
        "Try([\"sender\" => $x . \"@b.c\"]);",
    ),
    (
        "predelivery",
        "Try[sender]",
        "Try([\"sender\" => [\"localpart\" => \"a\", \"domain\" => \"b.c\", \"params\" => [\"X\" => $x]]]);",
    ),
    (
        "predelivery",
        "Try[recipient]",
        "Try([\"recipient\" => [\"localpart\" => $x, \"domain\" => \"b.c\"]]);",
    ),
    (
        "predelivery",
        "Try[recipient]",
        "Try([\"recipient\" => [\"localpart\" => \"a\", \"domain\" => \"b.c\", \"params\" => [$x => \"1\"]]]);",
    ),
    (
        "predelivery",
        "Try[sourceip]",
        "Try([\"sourceip\" => [[\"address\" => \"127.0.0.1\", \"helo\" => $x]]]);",
    ),
    (
        "predelivery",
        "Try[saslusername] Try[saslpassword]",
        "Try([\"saslusername\" => $x, \"saslpassword\" => $x]);",
    ),
    (
        "predelivery",
        "Try[xclient]",
        "Try([\"xclient\" => [\"NAME\" => $x]]);",
    ),
    (
        "predelivery",
        "Try[tls] Try[tls_sni]",
        "Try([\"tls\" => $x, \"tls_sni\" => $x]);",
    ),
    (
        "predelivery",
        "Try[jobid] Try[tenantid]",
        "Try([\"jobid\" => $x, \"tenantid\" => $x]);",
    ),
    (
        "predelivery",
        "Try[dsn]",
        "Try([\"dsn\" => [\"envid\" => $x]]);",
    ),
    (
        "predelivery",
        "Queue[reason] Queue[jobid]",
        "Queue([\"reason\" => $x, \"jobid\" => $x, \"delay\" => 9999]);",
    ),
    (
        "predelivery",
        "Queue[transportid]",
        "Queue([\"transportid\" => $x, \"delay\" => 9999]);",
    ),
    (
        "predelivery",
        "Queue[dsn]",
        "Queue([\"dsn_delayed\" => true, \"delay\" => 9999, \"dsn\" => [\"transportid\" => \"sink\", \"subject\" => $x, \"from_name\" => $x]]);",
    ),
    (
        "predelivery",
        "Bounce[reason]",
        "Bounce([\"reason\" => $x, \"dsn\" => [\"transportid\" => \"sink\"]]);",
    ),
    (
        "predelivery",
        "Bounce[dsn]",
        "Bounce([\"dsn\" => [\"transportid\" => \"sink\", \"subject\" => $x, \"subject_prepend\" => $x, \"from_name\" => $x, \"jobid\" => $x]]);",
    ),
    (
        "predelivery",
        "Bounce[dsn]",
        "Bounce([\"dsn\" => [\"transportid\" => \"sink\", \"headers\" => [\"X-A: \" . $x]]]);",
    ),
    (
        "predelivery",
        "Bounce[dsn]",
        "Bounce([\"dsn\" => [\"transportid\" => \"sink\", \"from\" => $x . \"@b.c\"]]);",
    ),
    (
        "predelivery",
        "Bounce[dsn]",
        "Bounce([\"dsn\" => [\"transportid\" => \"sink\", \"recipient\" => [\"localpart\" => $x, \"domain\" => \"b.c\"]]]);",
    ),
    (
        "predelivery",
        "Delete[reason]",
        "Delete([\"reason\" => $x]);",
    ),
    (
        "predelivery",
        "SetMetaData.metadata",
        "SetMetaData([$x => $x]); Try();",
    ),
    (
        "postdelivery",
        "Queue[reason] Queue[jobid]",
        "Queue([\"reason\" => $x, \"jobid\" => $x, \"delay\" => 9999]);",
    ),
    (
        "postdelivery",
        "Queue[transportid]",
        "Queue([\"transportid\" => $x, \"delay\" => 9999]);",
    ),
    (
        "postdelivery",
        "Queue[dsn]",
        "Queue([\"dsn_delayed\" => true, \"delay\" => 9999, \"dsn\" => [\"transportid\" => \"sink\", \"subject\" => $x]]);",
    ),
    (
        "postdelivery",
        "Bounce[reason]",
        "Bounce([\"reason\" => $x, \"dsn\" => [\"transportid\" => \"sink\"]]);",
    ),
    (
        "postdelivery",
        "Bounce[dsn]",
        "Bounce([\"dsn\" => [\"transportid\" => \"sink\", \"subject\" => $x, \"from_name\" => $x]]);",
    ),
    (
        "postdelivery",
        "SetMetaData.metadata",
        "SetMetaData([$x => $x]); Default();",
    ),
];
