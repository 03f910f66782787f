//! Lexer, parser and formatter: no text of any kind makes them panic, and what they say of it holds.

use std::collections::HashMap;

use angarium_lang::listing::listing_without_lines;
use angarium_syntax::dump::dump;
use angarium_syntax::format::{FormatError, format};
use angarium_syntax::lexer::lex;
use angarium_syntax::print::print;
use angarium_syntax::{FileId, MAX_ERRORS, SourceMap, is_open, parse};

use crate::script;

/// Tokens and comments lie in the text, in order, and do not overlap; errors have a place in it.
pub fn lexer(data: &[u8]) {
    let lexed = lex(data, FileId(0));
    for list in [&lexed.tokens, &lexed.comments] {
        let mut end = 0;
        for token in list {
            assert!(
                end <= token.start && token.start <= token.end,
                "{token:?} after {end}"
            );
            end = token.end;
        }
        assert!(end as usize <= data.len(), "a token ends at {end}");
    }
    let mut tokens = lexed.tokens.iter().peekable();
    for comment in &lexed.comments {
        while tokens
            .next_if(|token| token.start < comment.start)
            .is_some_and(|token| {
                assert!(token.end <= comment.start, "{token:?} runs into a comment");
                true
            })
        {}
    }
    for error in &lexed.errors {
        let span = error.primary.span;
        assert!(
            span.start <= span.end && span.end as usize <= data.len(),
            "{error:?}"
        );
    }
    let _ = is_open(data);
}

/// Parsing gives a tree; every error can be shown; a text without errors is printed and read again as the same tree.
pub fn parser(data: &[u8]) {
    let mut sources = SourceMap::new();
    let Ok(file) = sources.add("script.hsl", data) else {
        return;
    };
    let (tree, errors) = parse(data, file);
    assert!(errors.len() <= MAX_ERRORS);
    for error in &errors {
        assert!(!error.render(&sources).is_empty());
    }
    if !errors.is_empty() {
        return;
    }
    let printed = print(&tree);
    let (again, errors) = parse(&printed, file);
    assert!(
        errors.is_empty(),
        "printed text has errors: {:?}\n{}",
        errors.first().map(|error| &error.message),
        String::from_utf8_lossy(&printed)
    );
    assert_eq!(dump(&tree), dump(&again), "another tree");
    assert_eq!(print(&again), printed, "another text");
}

/// A program is formatted, whatever it looks like; the formatted text has its tree, comments and bytecode, and formatting
/// it once more changes nothing.
pub fn formatter(data: &[u8]) {
    let file = FileId(0);
    let (tree, errors) = parse(data, file);
    let formatted = match format(data, file) {
        Ok(formatted) => formatted,
        Err(FormatError::Syntax(_)) => {
            assert!(!errors.is_empty(), "errors in a text that has none");
            return;
        }
        Err(FormatError::Changed) => panic!("the formatter does not know this program"),
    };
    assert!(errors.is_empty(), "a text with errors was formatted");
    let text = String::from_utf8_lossy(&formatted);
    let (again, errors) = parse(&formatted, file);
    assert!(
        errors.is_empty(),
        "formatted text has errors: {errors:?}\n{text}"
    );
    assert_eq!(
        without_empty(&dump(&tree)),
        without_empty(&dump(&again)),
        "another tree:\n{text}"
    );
    assert_eq!(
        comments(data),
        comments(&formatted),
        "other comments:\n{text}"
    );
    match format(&formatted, file) {
        Ok(twice) => assert_eq!(text, String::from_utf8_lossy(&twice), "another text"),
        Err(error) => panic!("it does not format its own text: {error}\n{text}"),
    }
    assert_eq!(code(data), code(&formatted), "other bytecode:\n{text}");
}

/// A dump without empty statements, which the formatter leaves out.
fn without_empty(dump: &str) -> String {
    dump.replace(" (empty)", "").replace("(empty)\n", "")
}

/// The words of all comments, in order.
fn comments(text: &[u8]) -> Vec<Vec<String>> {
    let lexed = lex(text, FileId(0));
    let words = lexed.comments.iter().map(|comment| {
        let text = String::from_utf8_lossy(comment.text(text)).into_owned();
        text.split_ascii_whitespace().map(str::to_owned).collect()
    });
    words.collect()
}

/// The bytecode of a program that compiles.
fn code(text: &[u8]) -> Option<String> {
    let unit = script::compile(text, &HashMap::new()).ok()?;
    Some(listing_without_lines(&unit))
}
