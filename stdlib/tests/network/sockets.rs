//! `Socket`.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use angarium_runtime::{Ended, Limits};

use crate::servers::{closed, echo, serve};
use crate::{Bench, run};

#[test]
fn a_stream_is_read_peeked_at_and_half_closed() {
    let port = echo();
    let script = format!(
        r#"
        $s = Socket("AF_INET", "SOCK_STREAM");
        $all = [];
        $all[] = is_object($s->connect("127.0.0.1", {port}));
        $all[] = $s->send("hello");
        $all[] = $s->recv(5, "MSG_PEEK");
        $all[] = $s->recv(2);
        $all[] = $s->recv(3, ["MSG_WAITALL"]);
        $all[] = $s->recv(0);
        $all[] = is_object($s->shutdown("SHUT_WR"));
        $all[] = $s->recv(10);
        $all[] = $s->errno();
        $all[] = is_object($s->close());
        return $all;
        "#
    );
    assert_eq!(
        run(&script),
        r#"[0=>true,1=>5,2=>"hello",3=>"he",4=>"llo",5=>"",6=>true,7=>"",8=>0,9=>true]"#
    );
}

#[test]
fn failures_give_none_and_the_number_of_the_system() {
    let port = closed();
    let script = format!(
        r#"
        $s = Socket("AF_INET", "SOCK_STREAM");
        $all = [];
        $all[] = [$s->recv(1), $s->errno()];
        $all[] = [$s->connect("127.0.0.1", {port}), $s->errno()];
        $all[] = [$s->connect("127.0.0.1", {port}), $s->errno()];
        $all[] = [$s->connect("localhost", 1), $s->errno()];
        $all[] = [$s->connect("::1", 1), $s->errno()];
        $all[] = [$s->connect("127.0.0.1", 65536), $s->errno()];
        $all[] = [$s->recv(-1), $s->errno()];
        $all[] = [$s->bind("192.0.2.1", 0), $s->errno()];
        $all[] = is_object($s->bind("192.0.2.1", 0, ["nonlocal" => true]));
        $s->close();
        $all[] = [$s->send("x"), $s->errno()];
        $all[] = [$s->recv(1), $s->errno()];
        $all[] = [$s->close(), $s->errno()];
        $u = Socket("AF_UNIX", "SOCK_STREAM");
        $all[] = [$u->connect("/nowhere\x00"), $u->errno()];
        $all[] = [$u->connect("/nowhere/at/all"), $u->errno()];
        return $all;
        "#
    );
    let found = run(&script);
    let expected = "[0=>[0=>none,1=>107],1=>[0=>none,1=>111],2=>[0=>none,1=>103],3=>[0=>none,1=>22],\
        4=>[0=>none,1=>97],5=>[0=>none,1=>22],6=>[0=>none,1=>22],7=>[0=>none,1=>99],8=>true,\
        9=>[0=>none,1=>9],10=>[0=>none,1=>9],11=>[0=>none,1=>9],12=>[0=>none,1=>22],13=>[0=>none,1=>2]]";
    assert_eq!(found, expected);
}

#[test]
fn bad_names_raise_exceptions() {
    for (script, expected) in [
        (r#"Socket("AF_X", "SOCK_STREAM")"#, "AF_X is none of"),
        (r#"Socket("AF_INET", "SOCK_RAW")"#, "SOCK_RAW is neither"),
        (
            r#"Socket("AF_INET", "SOCK_DGRAM")->recv(1, "MSG_OOB")"#,
            "MSG_OOB is none of",
        ),
        (
            r#"Socket("AF_INET", "SOCK_DGRAM")->shutdown("SHUT_UP")"#,
            "SHUT_UP is none of",
        ),
        (
            r#"Socket("AF_INET", "SOCK_DGRAM")->settimeout(-1)"#,
            "must be a number of seconds",
        ),
    ] {
        let error = Bench::default()
            .run(&format!("return {script};"))
            .expect_err(script);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_call_ends_when_its_time_is_up() {
    let port = serve(|mut stream| {
        let _ = stream.write_all(b"par");
        let _ = stream.read(&mut [0; 10]);
    });
    let script = format!(
        r#"
        $s = Socket("AF_INET", "SOCK_STREAM");
        $s->connect("127.0.0.1", {port});
        $all = [$s->recv(6, ["MSG_PEEK"])];
        $s->settimeout(0.05);
        $all[] = [$s->recv(6, ["MSG_WAITALL"]), $s->errno()];
        $all[] = [$s->recv(6), $s->errno()];
        $all[] = [$s->recv(6, "MSG_DONTWAIT"), $s->errno()];
        return $all;
        "#
    );
    let began = Instant::now();
    assert_eq!(
        run(&script),
        r#"[0=>"par",1=>[0=>"par",1=>0],2=>[0=>none,1=>110],3=>[0=>none,1=>11]]"#
    );
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[test]
fn the_time_of_the_script_ends_a_call_too() {
    let port = serve(|mut stream| {
        let _ = stream.read(&mut [0; 10]);
    });
    let bench = Bench {
        limits: Limits {
            time: Some(Duration::from_millis(100)),
            ..Limits::default()
        },
        ..Bench::default()
    };
    let script = format!(
        r#"$s = Socket("AF_INET", "SOCK_STREAM"); $s->connect("127.0.0.1", {port}); return $s->recv(1);"#
    );
    assert!(matches!(
        bench.run_to_end(&script),
        Err(Ended::Limit("time"))
    ));
}

#[test]
fn datagrams_keep_their_borders() {
    let script = r#"
        $folder = "/tmp/angarium-test-" . uuid();
        $a = Socket("AF_UNIX", "SOCK_DGRAM");
        $b = Socket("AF_UNIX", "SOCK_DGRAM");
        $a->bind($folder . "-a");
        $b->bind($folder . "-b");
        $a->connect($folder . "-b");
        $b->connect($folder . "-a");
        $a->send("one");
        $a->send("two");
        return [$b->recv(100), $b->recv(2), $b->recv(100, "MSG_DONTWAIT"), $folder];
    "#;
    let found = run(script);
    assert!(
        found.starts_with(r#"[0=>"one",1=>"tw",2=>none,"#),
        "{found}"
    );
    let folder = found.rsplit('"').nth(1).expect("a path");
    for end in ["a", "b"] {
        std::fs::remove_file(format!("{folder}-{end}")).expect("the socket's path");
    }
}

#[test]
fn paths_of_the_machine_are_connected_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).expect("a listener");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("received");
        stream.write_all(&all).expect("sent");
        all.len()
    });
    let script = format!(
        r#"
        $s = Socket("AF_UNIX", "SOCK_STREAM");
        $s->connect("{}");
        $sent = $s->send(str_repeat("x", 500000));
        $s->shutdown("SHUT_WR");
        return [$sent, length($s->recv(500000, "MSG_WAITALL")), $s->recv(1)];
        "#,
        path.display()
    );
    assert_eq!(run(&script), r#"[0=>500000,1=>500000,2=>""]"#);
    assert_eq!(server.join().expect("no panic"), 500_000);
}

#[test]
fn what_is_received_is_charged_and_open_sockets_are_counted() {
    let port = serve(|mut stream| {
        let piece = [b'x'; 65536];
        while stream.write_all(&piece).is_ok() {}
    });
    let bench = Bench {
        limits: Limits {
            memory: Some(4 << 20),
            time: Some(Duration::from_secs(20)),
            ..Limits::default()
        },
        ..Bench::default()
    };
    let script = format!(
        r#"$s = Socket("AF_INET", "SOCK_STREAM"); $s->connect("127.0.0.1", {port});
        return $s->recv(100000000, "MSG_WAITALL");"#
    );
    assert!(matches!(
        bench.run_to_end(&script),
        Err(Ended::Limit("memory"))
    ));
    let many = r#"
        $all = [];
        try { for ($i = 0; $i < 1000; $i += 1) $all[] = Socket("AF_INET", "SOCK_DGRAM"); }
        catch ($e) { $why = $e->message(); }
        $count = length($all);
        $all[0]->close();
        $again = is_object(Socket("AF_INET", "SOCK_DGRAM"));
        return [$count, $why, $again];
    "#;
    assert_eq!(
        run(many),
        r#"[0=>128,1=>"Socket: too many open sockets",2=>true]"#
    );
}
