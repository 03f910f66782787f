//! The proxy hook: command lines before the server looks at them.

use angarium_runtime::native::{Args, ContextDecl, Cx, FnDecl, OptDecl, Outcome, Throw, opt};
use angarium_smtp::verdict::{Function, Verdict};

use super::reply::{DISCONNECT, REPLY_CODES, reason, reply_options};
use super::variables::{self as vars, always, join};

const NEXT: OptDecl = opt(
    "next",
    "boolean",
    "false",
    "run the hook for the next line too",
);

/// Each command line that the configuration names.
pub static PROXY: ContextDecl = ContextDecl {
    name: "proxy",
    functions: &[&[
        FnDecl::plain(
            "Pass(options?: array)",
            "Lets the server carry the line out.",
            pass,
        )
        .options(&[
            opt("command", "string", "", "carry this line out instead"),
            NEXT,
        ]),
        FnDecl::plain(
            "Reply(reason?: string|array, options?: array)",
            "Answers 250, or another code, in place of the server.",
            reply,
        )
        .options(&[REPLY_CODES, DISCONNECT, NEXT])
        .groups(&["REPLY"]),
    ]],
    classes: &[],
    variables: &join!(
        &[always(
            "$arguments.command",
            "string",
            "the line without its end"
        )],
        vars::CONNECTION,
        vars::HELO,
        vars::AUTH,
        vars::TRANSACTION,
        &[vars::CONTEXT]
    ),
};

fn pass(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let options = args.options(0);
    Err(Throw::end(Verdict::Pass {
        command: options.string("command").map(|line| line.into_vec()),
        next: options.boolean("next", false),
    }))
}

fn reply(_: &mut Cx<'_>, args: Args<'_>) -> Outcome {
    let options = args.options(1);
    let mut reply = reply_options(Function::Reply, options)?;
    reply.reason = reason(args.get(0));
    let next = options.boolean("next", false);
    Err(Throw::end(Verdict::Reply { reply, next }))
}
