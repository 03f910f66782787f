//! Lexer and parser: no text of any kind makes them panic, and what they say of it holds.

use angarium_syntax::dump::dump;
use angarium_syntax::lexer::lex;
use angarium_syntax::print::print;
use angarium_syntax::{FileId, MAX_ERRORS, SourceMap, is_open, parse};

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
