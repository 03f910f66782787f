//! The reference page of the commands, made from their declarations.

use std::fmt::Write as _;

use clap::{Arg, Command, CommandFactory as _};

use super::Program;

/// The text of `docs/reference/commands.md`.
#[must_use]
pub fn page() -> String {
    let mut program = Program::command().disable_help_subcommand(true);
    program.build();
    let mut text = INTRODUCTION.to_owned();
    let commands: Vec<&Command> = program
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .collect();
    text.push_str("\n| command | what it does |\n|---|---|\n");
    for command in &commands {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| [`{name}`](#{name}){} | {} |",
            also(command),
            about(command),
            name = command.get_name()
        );
    }
    for command in &commands {
        section(&mut text, command, command.get_name(), 2);
    }
    text
}

const INTRODUCTION: &str = "\
# Commands

This page is made from the program itself (`cargo run -p angarium --example commands > docs/reference/commands.md`);
`angarium COMMAND --help` says the same. The [guide](../guide/first-hour.md) shows the commands at work.

Status 0: it worked. 1: what was asked for failed. 2: the arguments are wrong. 130: Ctrl-C ended a script. Standard output holds
results alone; everything else goes to standard error.

A link called `hsh` or `hsl-lint` that leads to the program is that command.
";

/// A command, and those below it.
fn section(text: &mut String, command: &Command, path: &str, level: usize) {
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\n{} {path}\n\n{}.\n\n    {}\n",
        "#".repeat(level),
        about(command),
        usage(command, path)
    );
    let arguments: Vec<&Arg> = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
        // Every command has these; some call the version by a letter of their own.
        .filter(|argument| {
            argument.get_id() != "help"
                && (argument.get_id() != "version" || argument.get_short() == Some('v'))
        })
        .collect();
    if !arguments.is_empty() {
        text.push_str("\n| argument | meaning |\n|---|---|\n");
        for argument in arguments {
            let _ = writeln!(text, "| `{}` | {} |", form(argument), meaning(argument));
        }
    }
    for below in command.get_subcommands() {
        if !below.is_hide_set() {
            section(
                text,
                below,
                &format!("{path} {}", below.get_name()),
                level + 1,
            );
        }
    }
}

/// The other names of a command.
fn also(command: &Command) -> String {
    let names: Vec<String> = command
        .get_visible_aliases()
        .map(|name| format!("`{name}`"))
        .collect();
    match names.as_slice() {
        [] => String::new(),
        names => format!(", also {}", names.join(", ")),
    }
}

fn about(command: &Command) -> String {
    command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default()
}

/// The line that says how a command is called.
fn usage(command: &Command, path: &str) -> String {
    let usage = command.clone().render_usage().to_string();
    let rest = usage
        .split_once(command.get_bin_name().unwrap_or(path))
        .map_or("", |(_, rest)| rest);
    format!("angarium {path}{rest}")
}

/// `-s, --sessions <N>`, `FILE…`
fn form(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    let value = names.first().map(ToString::to_string).unwrap_or_default();
    let takes_value = argument.get_action().takes_values();
    let many = argument
        .get_num_args()
        .is_some_and(|range| range.max_values() > 1);
    if argument.is_positional() {
        return format!(
            "{}{}",
            value.replace('|', "\\|"),
            if many { "…" } else { "" }
        );
    }
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let mut text: Vec<String> = short.into_iter().chain(long).collect();
    if takes_value && let Some(last) = text.last_mut() {
        last.push_str(&format!(" {value}"));
    }
    text.join(", ")
}

/// The help of an argument, with its default and the values that it takes.
fn meaning(argument: &Arg) -> String {
    let help = argument.get_help().map(ToString::to_string);
    // A bar would end the cell.
    let mut text = help.unwrap_or_default().replace('|', "\\|");
    let values: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if argument.get_action().takes_values() && !values.is_empty() {
        // Writing to a string cannot fail.
        let _ = write!(text, ": {}", values.join(", "));
    }
    let defaults: Vec<String> = argument
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", value.to_string_lossy()))
        .collect();
    if argument.get_action().takes_values() && !defaults.is_empty() {
        let _ = write!(text, " (default {})", defaults.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_page_in_the_documentation_is_this_one() {
        let committed = include_str!("../../../docs/reference/commands.md");
        assert!(
            super::page() == committed,
            "run: cargo run -p angarium --example commands > docs/reference/commands.md"
        );
    }
}
