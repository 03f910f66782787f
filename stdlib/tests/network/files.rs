//! The older functions that read whole files.

use crate::Bench;

fn bench() -> Bench {
    let mut bench = Bench::default();
    for (name, content) in [
        ("lines", "one\r\ntwo\n\nfour"),
        ("words", "alice 1 x\n\nbob\t2  y\r\ncarol 3 z\n"),
        ("colons", "a:b:\nc::d\n"),
        ("table.csv", "name,age\r\nalice,30\n\"bob, jr\",40\n"),
    ] {
        bench.files.insert(name.to_owned(), content.to_owned());
    }
    // More than is read or split in one go.
    let long: String = (0..5000)
        .map(|number| format!("line{number} {number}\n"))
        .collect();
    bench.files.insert("long".to_owned(), long);
    bench
}

#[test]
fn files_are_read_as_lines_and_searched_for_words() {
    let bench = bench();
    for (expression, expected) in [
        (r#"file("lines")"#, r#"[0=>"one",1=>"two",2=>"",3=>"four"]"#),
        (r#"length(file("long"))"#, "5000"),
        (r#"file_get_contents("colons")"#, r#""a:b:\nc::d\n""#),
        (r#"in_file("bob", "words")"#, r#"[0=>"bob",1=>"2",2=>"y"]"#),
        (
            r#"in_file("2", "words", ["index" => 1])"#,
            r#"[0=>"bob",1=>"2",2=>"y"]"#,
        ),
        (r#"in_file("nobody", "words")"#, "[]"),
        (
            r#"in_file("c", "colons", ["delimiter" => ":"])"#,
            r#"[0=>"c",1=>"",2=>"d"]"#,
        ),
        (r#"in_file("line4999", "long")[1]"#, r#""4999""#),
        (
            r#"in_file("bob, jr", "table.csv", ["type" => "text/csv"])"#,
            r#"["name"=>"bob, jr","age"=>"40"]"#,
        ),
        (
            r#"in_file("30", "table.csv", ["type" => "text/csv", "assoc" => false, "index" => 1])"#,
            r#"[0=>"alice",1=>"30"]"#,
        ),
        (
            r#"in_file("name", "table.csv", ["type" => "text/csv", "assoc" => false])"#,
            "[]",
        ),
        (
            r#"in_file(function ($w) { return $w[1] == "3"; }, "words")"#,
            r#"[0=>"carol",1=>"3",2=>"z"]"#,
        ),
        (
            r#"in_file(function ($w) { return $w["age"] > 35; }, "table.csv", ["type" => "text/csv"])"#,
            r#"["name"=>"bob, jr","age"=>"40"]"#,
        ),
    ] {
        let found = bench.run(&format!("return {expression};"));
        assert_eq!(found.as_deref(), Ok(expected), "{expression}");
    }
    for expression in [
        r#"file("missing")"#,
        r#"file_get_contents("missing")"#,
        r#"in_file("a", "missing")"#,
        r#"in_file("a", "words", ["type" => "image/png"])"#,
    ] {
        assert!(
            bench.run(&format!("return {expression};")).is_err(),
            "{expression}"
        );
    }
}
