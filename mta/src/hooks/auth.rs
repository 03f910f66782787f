//! The auth hook: who a client is (RFC 4954). PLAIN and LOGIN come with a name and a password, other mechanisms are a
//! dialogue that the script leads with `Reply`.

use angarium_runtime::native::{Args, ContextDecl, Cx, FnDecl, Outcome, Throw, opt};
use angarium_smtp::verdict::{Accept, Function, Verdict, split_reason};

use super::reply::{REASON, REFUSAL, REPLY_CODES, accept_reply, reply_options};
use super::smtp::{defer, reject};
use super::variables::{self as vars, always, join, when};

/// AUTH, and each answer of the client to `Reply`.
pub static AUTH: ContextDecl = ContextDecl {
    name: "auth",
    functions: &[&[
        FnDecl::plain(
            "Accept(options?: array)",
            "Lets the client in: it is authenticated from now on.",
            accept,
        )
        .options(&[
            opt(
                "username",
                "string",
                "",
                "take this as the name of the user",
            ),
            REASON,
            REPLY_CODES,
        ]),
        reject("Answers 535, as the end of the script does."),
        defer("Answers 454."),
        FnDecl::plain(
            "Reply(reply?: string, options?: array)",
            "Sends 334 and the text in base64. The client's answer runs the hook again, with `state` one higher.",
            reply,
        )
        .options(REFUSAL)
        .groups(&["REPLY"]),
    ]],
    classes: &[],
    variables: &join!(
        &[
            when(
                "$arguments.username",
                "string",
                "PLAIN, LOGIN",
                "name of the user"
            ),
            when("$arguments.password", "string", "PLAIN, LOGIN", "password"),
            always("$arguments.mechanism", "string", "mechanism in upper case"),
            when(
                "$arguments.state",
                "number",
                "other mechanisms",
                "0 on AUTH, one more after each Reply"
            ),
            when(
                "$arguments.response",
                "string",
                "other mechanisms",
                "what the client answered, decoded; none when AUTH came without an answer"
            ),
        ],
        vars::CONNECTION,
        vars::HELO,
        &[
            vars::TRANSACTION_ID,
            vars::CONTEXT
        ]
    ),
};

fn accept(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let options = args.options(0);
    let accept = Accept {
        reply: accept_reply(options)?,
        username: options
            .string("username")
            .map(|name| name.to_text().into_owned()),
        ..Accept::default()
    };
    Err(Throw::end(Verdict::Accept(Box::new(accept))))
}

fn reply(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let mut reply = reply_options(Function::Reply, args.options(1))?;
    // The machine joins the lines again: a challenge may hold any byte.
    reply.reason = split_reason(args.bytes(0));
    Err(Throw::end(Verdict::Reply { reply, next: false }))
}
