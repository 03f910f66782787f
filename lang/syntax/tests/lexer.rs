//! Chapter 1 of the language, rule by rule: which tokens a text gives, and which errors.

mod common;

use angarium_syntax::FileId;
use angarium_syntax::dump::dump;
use angarium_syntax::lexer::lex;
use angarium_syntax::token::{KEYWORDS, TokenKind};

/// The tokens of a text: names of kinds for literals, spellings for the rest.
fn tokens(text: &str) -> String {
    let lexed = lex(text.as_bytes(), FileId(0));
    assert_eq!(lexed.errors, vec![], "{text}");
    let words: Vec<String> = lexed
        .tokens
        .iter()
        .map(|token| match token.kind {
            TokenKind::Name | TokenKind::Variable | TokenKind::Number => {
                String::from_utf8_lossy(token.text(text.as_bytes())).into_owned()
            }
            kind => kind.name().to_owned(),
        })
        .collect();
    words.join(" ")
}

fn error(text: &[u8]) -> String {
    let lexed = lex(text, FileId(0));
    assert!(
        !lexed.errors.is_empty(),
        "{}",
        String::from_utf8_lossy(text)
    );
    lexed
        .errors
        .into_iter()
        .map(|error| error.message)
        .collect::<Vec<_>>()
        .join("; ")
}

/// The tree of an expression statement.
fn tree(text: &[u8]) -> String {
    let (program, errors, sources) = common::parsed(text);
    let messages: String = errors.iter().map(|error| error.render(&sources)).collect();
    assert_eq!(messages, "", "{}", String::from_utf8_lossy(text));
    dump(&program).trim_end().to_owned()
}

#[test]
fn white_space_comments_and_the_byte_order_mark_separate_tokens_only() {
    assert_eq!(tokens("a\tb\r\nc // d\n/* e\n f */ g /** h */"), "a b c g");
    assert_eq!(tokens("\u{feff}echo"), "echo");
    assert_eq!(tokens("a/**/b"), "a b");
    assert_eq!(tokens("/* /* */ a"), "a");
    assert_eq!(tokens("// å \u{a0}\n/* “ */ a // no line end"), "a");
    let lexed = lex(b"a // one\r\n/* two */ b", FileId(0));
    let comments: Vec<&[u8]> = lexed
        .comments
        .iter()
        .map(|token| token.text(b"a // one\r\n/* two */ b"))
        .collect();
    assert_eq!(comments, vec![&b"// one"[..], &b"/* two */"[..]]);
}

#[test]
fn names_and_variables() {
    assert_eq!(
        tokens("_a A1 $_a $If $static if"),
        "_a A1 $_a $If $static if"
    );
    assert_eq!(tokens("If IF this public"), "If IF this public");
    assert_eq!(error(b"$1"), "a name must follow `$`");
}

#[test]
fn every_keyword_is_a_token_and_a_name_after_an_arrow() {
    for word in KEYWORDS {
        assert_eq!(tokens(word), *word);
        let kinds: Vec<TokenKind> = lex(format!("$x->{word}").as_bytes(), FileId(0))
            .tokens
            .iter()
            .map(|token| token.kind)
            .collect();
        assert_eq!(
            kinds,
            vec![TokenKind::Variable, TokenKind::Arrow, TokenKind::Name],
            "{word}"
        );
    }
    assert_eq!(KEYWORDS.len(), 46);
}

#[test]
fn the_longest_sign_wins() {
    assert_eq!(
        tokens("a>>>=b>>=c>>>d>>e>=f>g"),
        "a >>>= b >>= c >>> d >> e >= f > g"
    );
    assert_eq!(
        tokens("**= ** * *= ??= ?? ? !== != ! !~ === == =~ => ="),
        "**= ** * *= ??= ?? ? !== != ! !~ === == =~ => ="
    );
    assert_eq!(
        tokens("... . .= -> -- - -= ++ + +="),
        "... . .= -> -- - -= ++ + +="
    );
    assert_eq!(
        tokens("& &= | |= ^ ^= ~ << <<= <= <"),
        "& &= | |= ^ ^= ~ << <<= <= <"
    );
    assert_eq!(tokens("a ?: b ? : c"), "a ? : b ? : c");
}

#[test]
fn two_colons_are_one_token_only_after_a_class() {
    assert_eq!(tokens("A::f static::$x"), "A :: f static :: $x");
    assert_eq!(
        tokens("$x[::2] $x[1::2] $x[$a::-1]"),
        "$x [ : : 2 ] $x [ 1 : : 2 ] $x [ $a : : - 1 ]"
    );
    assert_eq!(tokens("f()::x \"a\"::b"), "f ( ) : : x a string : : b");
    // A property is not a class.
    assert_eq!(tokens("$x[$o->n::2]"), "$x [ $o -> n : : 2 ]");
}

#[test]
fn numbers() {
    assert_eq!(tree(b"0;"), "0");
    assert_eq!(tree(b"1_000.5_0;"), "1000.5");
    assert_eq!(tree(b"[0x1F, 0o17, 0b101, 007];"), "(array 31 15 5 7)");
    assert_eq!(tree(b"9007199254740993;"), "9007199254740992");
    assert_eq!(tree(b"\"a\".5.\"b\";"), "(\"a\" . 5 . \"b\")");
    assert_eq!(tree(b"1.0 . 2.5;"), "(1 . 2.5)");
    assert_eq!(tree(b"-1;"), "(- 1)");
    for bad in [
        "1e3", "1_", "1__2", "1.2.3", "5x", "0x", "0b2", "0o9", "0xg", "1_.5", "1.5e3", "0X1F",
    ] {
        error(bad.as_bytes());
    }
    for bad in [".5;", "5.;"] {
        assert!(!common::rendered(bad.as_bytes()).is_empty(), "{bad}");
    }
}

#[test]
fn double_quoted_strings() {
    assert_eq!(tree(b"\"a\nb\";"), "\"a\\nb\"");
    assert_eq!(
        tree(br#""\\ \" \$x \n\r\t\x41\xff";"#),
        r#""\\ \" $x \n\r\tA\xff""#
    );
    assert_eq!(tree(b"\"\xc3\xa5\xff\0\";"), r#""\xc3\xa5\xff\x00""#);
    assert_eq!(
        tree(b"\"cost $5, $, $1 ${x}${y}z\";"),
        r#"(template "cost $5, $, $1 " $x $y "z")"#
    );
    assert_eq!(
        tree(b"\"$a[0]$this->x$$b\";"),
        r#"(template $a "[0]" $this "->x$" $b)"#
    );
    for bad in [
        r#""\q""#,
        r#""\x4""#,
        r#""\xzz""#,
        r#""${""#,
        r#""${a""#,
        r#""${}""#,
        r#""${a[0]}""#,
        "\"abc",
    ] {
        error(bad.as_bytes());
    }
}

#[test]
fn raw_strings() {
    assert_eq!(tree(br"''C:\new'';"), r#""C:\\new""#);
    assert_eq!(
        tree(b"'EOT'it's ''quoted'' text\n$x'EOT';"),
        r#""it\'s \'\'quoted\'\' text\n$x""#
    );
    assert_eq!(tree(b"'#'a'#';"), r#""a""#);
    assert_eq!(tree(b"'''';"), r#""""#);
    assert_eq!(tree(b"''it's'';"), r#""it\'s""#);
    assert_eq!(tree(b"'a'x'b'y'a';"), r#""x\'b\'y""#);
    for bad in ["''abc", "'x'abc", "'a b'", "'"] {
        error(bad.as_bytes());
    }
}

#[test]
fn regex_literals() {
    assert_eq!(
        tree(br"#/^a\/b\\$/imsuxUX;"),
        r#"(regex "^a\\/b\\\\$" imsuxUX)"#
    );
    assert_eq!(
        tree(b"$s =~ #/[\"']/ and #/\xff/;"),
        r#"(($s =~ (regex "[\"\']")) and (regex "\xff"))"#
    );
    for bad in ["#//", "#/a", "#/a\n/", "#/a/g", "# comment", "#/a\\"] {
        error(bad.as_bytes());
    }
}

#[test]
fn what_is_not_a_token_is_named() {
    assert!(error("a\u{a0}b".as_bytes()).contains("no-break space U+00A0"));
    assert!(error("“a”".as_bytes()).contains("left double quotation mark U+201C"));
    assert!(error("a”".as_bytes()).contains("right double quotation mark U+201D"));
    assert!(error(b"\xff").contains("0xFF"));
    assert!(error("é".as_bytes()).contains("U+00E9"));
    assert!(error(b"@").contains('@'));
    assert!(error(b"$a && $b").contains("use `and`"));
    assert!(error(b"$a || $b").contains("use `or`"));
    assert!(error(b"/* a").contains("no end"));
    assert!(error(b"\0").contains("NUL"));
}

#[test]
fn the_lexer_stops_after_twenty_errors() {
    assert_eq!(
        lex("@ ".repeat(1000).as_bytes(), FileId(0)).errors.len(),
        20
    );
}
