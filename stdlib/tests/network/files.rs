//! The older functions that read whole files.

use angarium_runtime::Ended;

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

#[test]
fn a_table_is_searched_row_by_row() {
    let mut bench = bench();
    let rows: String = (0..100_000).map(|n| format!("row{n},{n}\n")).collect();
    bench
        .files
        .insert("rows.csv".to_owned(), format!("name,number\n{rows}"));
    bench.files.insert(
        "open.csv".to_owned(),
        "name\nalice\nbob\n\"carol".to_owned(),
    );
    let find = |bench: &Bench, what: &str, file: &str| {
        bench.run_to_end(&format!(
            r#"return in_file("{what}", "{file}", ["type" => "text/csv"])["name"] ?? none;"#
        ))
    };
    // What is wrong behind the row that is found is not seen.
    assert_eq!(
        find(&bench, "bob", "open.csv").ok().as_deref(),
        Some("\"bob\"")
    );
    assert!(matches!(
        find(&bench, "carol", "open.csv"),
        Err(Ended::Uncaught(_))
    ));
    assert_eq!(
        find(&bench, "row99999", "rows.csv").ok().as_deref(),
        Some("\"row99999\"")
    );
    // The rows are never all in memory, and the budget ends the search.
    bench.limits.memory = Some(8 << 20);
    assert_eq!(
        find(&bench, "nobody", "rows.csv").ok().as_deref(),
        Some("none")
    );
    bench.limits.fuel = Some(50_000);
    assert!(matches!(
        find(&bench, "nobody", "rows.csv"),
        Err(Ended::Limit(_))
    ));
    assert_eq!(
        find(&bench, "row5", "rows.csv").ok().as_deref(),
        Some("\"row5\"")
    );
}
