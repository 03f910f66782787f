//! `extras://sasl` by the examples of the RFCs, and by what clients must not get away with.
#![allow(clippy::print_stdout, reason = "a suite says how much of it passed")]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests read their data from disk; a suite that cannot be read fails its test"
)]

mod common;

use common::World;

/// Leads the dialogue with these answers of the client, `none` or literals, and gives what each step said but the state.
const ASK: &str = r#"
import { sasl, scram_keys } from "extras://sasl";
function ask($mechanism, $responses, $options) {
    $state = none;
    $said = [];
    foreach ($responses as $number => $response) {
        $step = sasl(["mechanism" => $mechanism, "state" => $number, "response" => $response], $state, $options);
        $state = $step["state"] ?? none;
        if (isset($step["challenge"]))
            $said[] = $step["challenge"];
        else if (isset($step["username"]))
            $said[] = "user " . $step["username"];
        else if (isset($step["defer"]))
            $said[] = "later";
        else
            $said[] = "no " . $step["options"]["reply_codes"]["code"];
    }
    return array_join($said, " | ");
}
$password = function ($username) {
    if ($username === "later")
        return false;
    $users = ["tim" => "tanstaaftanstaaf", "user" => "pencil", "a,b=c" => "x"];
    return $users[$username] ?? none;
};
$token = function ($username, $token) {
    if ($token === "later")
        return false;
    return $token === "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==" ? "user@example.com" : none;
};
$cram = ["password" => $password, "challenge" => "<1896.697170952@postoffice.reston.mci.net>"];
$scram = ["password" => $password, "nonce" => "%hvYDpWUa2RaTCAfuxFIlj)hNlF" . "\$k0",
    "salt" => base64_decode("W22ZaJ0SNY7soEsUEjb6gQ==")];
$fast = ["password" => $password, "nonce" => "N", "salt" => "saltsaltsaltsalt", "iterations" => 2];
$bearer = ["token" => $token, "scope" => "mail"];
$wrong = base64_encode(str_repeat("x", 32));
"#;

fn asked(dialogue: &str, said: &str) {
    let world = World::default();
    // The dump of a text takes the quotes that it needs no escapes in.
    let dumped = match said.contains(['"', '$']) {
        true => format!("''{said}''"),
        false => format!("\"{said}\""),
    };
    world.gives(&format!("{ASK}return {dialogue};"), &dumped);
}

#[test]
fn cram_md5_is_that_of_rfc_2195() {
    let challenge = "<1896.697170952@postoffice.reston.mci.net>";
    for (answer, said) in [
        ("tim b913a602c7eda7a495b4e6e7334d3890", "user tim"),
        ("tim b913a602c7eda7a495b4e6e7334d3891", "no 535"),
        ("bob b913a602c7eda7a495b4e6e7334d3890", "no 535"),
        ("later b913a602c7eda7a495b4e6e7334d3890", "later"),
        ("tim", "no 501"),
        ("tim B913A602C7EDA7A495B4E6E7334D3890", "no 501"),
        ("", "no 501"),
    ] {
        let dialogue = format!("ask(\"CRAM-MD5\", [none, \"{answer}\"], $cram)");
        asked(&dialogue, &format!("{challenge} | {said}"));
    }
    asked("ask(\"CRAM-MD5\", [\"tim x\"], $cram)", "no 501");
}

#[test]
fn scram_sha_256_is_that_of_rfc_7677() {
    let first = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF\\$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let challenge =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    let proof = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    asked(
        &format!("ask(\"SCRAM-SHA-256\", [\"{first}\", \"{last}\", \"\"], $scram)"),
        &format!("{challenge} | {proof} | user user"),
    );
    // Without an initial response the server asks for it with nothing.
    asked(
        &format!("ask(\"SCRAM-SHA-256\", [none, \"{first}\", \"{last}\", \"\"], $scram)"),
        &format!(" | {challenge} | {proof} | user user"),
    );
    // Nobody is let in before the end.
    asked(
        &format!("ask(\"SCRAM-SHA-256\", [\"{first}\", \"{last}\", \"x\"], $scram)"),
        &format!("{challenge} | {proof} | no 501"),
    );
    // What a server keeps instead of a password does the same.
    asked(
        &format!(
            "ask(\"SCRAM-SHA-256\", [\"{first}\", \"{last}\", \"\"], [\"nonce\" => $scram[\"nonce\"], \
             \"password\" => function ($name) closure ($scram) {{ return scram_keys(\"pencil\", $scram[\"salt\"]); }}])"
        ),
        &format!("{challenge} | {proof} | user user"),
    );
}

#[test]
fn scram_refuses_what_it_does_not_offer_and_what_is_forged() {
    for (first, said) in [
        ("p=tls-unique,,n=tim,r=abc", "no 535"),
        ("p=tls-exporter,,n=tim,r=abc", "no 535"),
        ("n,a=other,n=tim,r=abc", "no 535"),
        ("n,,m=1,n=tim,r=abc", "no 535"),
        ("n,,n=t=im,r=abc", "no 501"),
        ("n,,n=,r=abc", "no 501"),
        ("n,,n=tim,r=", "no 501"),
        ("n,,n=tim,r=a b", "no 501"),
        ("x,,n=tim,r=abc", "no 501"),
        ("n", "no 501"),
        ("", "no 501"),
        ("n,,n=later,r=abc", "later"),
        ("y,,n=tim,r=abc", "r=abcN,s=c2FsdHNhbHRzYWx0c2FsdA==,i=2"),
        (
            "n,a=tim,n=tim,r=abc",
            "r=abcN,s=c2FsdHNhbHRzYWx0c2FsdA==,i=2",
        ),
        // Who is not there is answered like who is.
        ("n,,n=nobody,r=abc", "r=abcN,s=c2FsdHNhbHRzYWx0c2FsdA==,i=2"),
    ] {
        asked(
            &format!("ask(\"SCRAM-SHA-256\", [\"{first}\"], $fast)"),
            said,
        );
    }
    for (last, said) in [
        ("c=biws,r=abcN,p=\" . $wrong . \"", "no 535"),
        // Another header than the first time: somebody in between took the binding away.
        ("c=eSws,r=abcN,p=\" . $wrong . \"", "no 535"),
        ("c=biws,r=abcX,p=\" . $wrong . \"", "no 535"),
        ("c=biws,r=abcN,p=AAAA", "no 501"),
        ("c=biws,r=abcN", "no 501"),
        ("", "no 501"),
    ] {
        let dialogue = format!("ask(\"SCRAM-SHA-256\", [\"n,,n=tim,r=abc\", \"{last}\"], $fast)");
        asked(
            &dialogue,
            &format!("r=abcN,s=c2FsdHNhbHRzYWx0c2FsdA==,i=2 | {said}"),
        );
    }
}

#[test]
fn bearer_tokens_are_those_of_rfc_7628() {
    let good = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==";
    let ask = |mechanism: &str, answers: &[String], said: &str| {
        let answers: Vec<String> = answers.iter().map(|text| format!("\"{text}\"")).collect();
        asked(
            &format!("ask(\"{mechanism}\", [{}], $bearer)", answers.join(", ")),
            said,
        );
    };
    let oauth = |name: &str, token: &str| {
        format!(
            "n,{name},\\x01host=server.example.com\\x01port=143\\x01auth=Bearer {token}\\x01\\x01"
        )
    };
    let why = "{\"status\":\"invalid_token\",\"scope\":\"mail\"} | no 535";
    ask(
        "OAUTHBEARER",
        &[oauth("a=user@example.com", good)],
        "user user@example.com",
    );
    ask("OAUTHBEARER", &[oauth("", good)], "user user@example.com");
    ask(
        "OAUTHBEARER",
        &[oauth("a=other@example.com", good), "\\x01".into()],
        why,
    );
    ask(
        "OAUTHBEARER",
        &[oauth("a=user@example.com", "wrong"), "\\x01".into()],
        why,
    );
    // Whatever comes then, it has failed.
    ask("OAUTHBEARER", &[oauth("", "wrong"), oauth("", good)], why);
    ask("OAUTHBEARER", &[oauth("", "later")], "later");
    for malformed in [
        "",
        "\\x01",
        "n,,\\x01\\x01",
        "n,,\\x01auth=Basic x\\x01\\x01",
        "p=tls-unique,,\\x01auth=Bearer x\\x01\\x01",
        "n,,\\x01auth=Bearer x\\x01",
        "n,b=x,\\x01auth=Bearer x\\x01\\x01",
    ] {
        ask("OAUTHBEARER", &[malformed.to_owned()], "no 501");
    }
    let xoauth2 = |token: &str| format!("user=user@example.com\\x01auth=Bearer {token}\\x01\\x01");
    ask("XOAUTH2", &[xoauth2(good)], "user user@example.com");
    ask(
        "XOAUTH2",
        &[xoauth2("ya29.x"), String::new()],
        "{\"status\":\"401\",\"schemes\":\"bearer\",\"scope\":\"mail\"} | no 535",
    );
    ask(
        "XOAUTH2",
        &["user=\\x01auth=Bearer x\\x01\\x01".into()],
        "no 501",
    );
    ask("X-OTHER", &[String::new()], "no 504");
}

#[test]
fn plain_passwords_are_compared_with_what_is_kept() {
    let world = World::default();
    let plain = |user: &str, password: &str, lookup: &str| {
        format!(
            "{ASK}$step = sasl([\"mechanism\" => \"PLAIN\", \"username\" => \"{user}\", \"password\" => \"{password}\"], none, \
             [\"password\" => {lookup}]); return $step[\"username\"] ?? $step[\"defer\"] ?? $step[\"options\"][\"reply_codes\"][\"code\"];"
        )
    };
    world.gives(&plain("user", "pencil", "$password"), "\"user\"");
    world.gives(&plain("user", "pen", "$password"), "535");
    world.gives(&plain("nobody", "", "$password"), "535");
    world.gives(&plain("later", "", "$password"), "true");
    let kept = "function ($name) { return scram_keys(\"pw\", \"salt\", 2); }";
    world.gives(&plain("user", "pw", kept), "\"user\"");
    world.gives(&plain("user", "pw2", kept), "535");
}
