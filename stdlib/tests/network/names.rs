//! The older questions for names.

use std::net::Ipv4Addr;

use angarium_effects::dns::{DnsError, RecordData, RecordType};

use crate::Bench;

fn bench() -> Bench {
    let bench = Bench::default();
    let dns = &bench.dns;
    dns.add_address("both.test", Ipv4Addr::new(192, 0, 2, 1).into());
    dns.add_address("both.test", "2001:db8::1".parse().expect("an address"));
    dns.add_address("four.test", Ipv4Addr::new(192, 0, 2, 4).into());
    for (preference, exchange) in [(20, "b.test"), (10, "a.test")] {
        let data = RecordData::Mx {
            preference,
            exchange: exchange.to_owned(),
        };
        dns.add("mail.test", RecordType::Mx, data);
    }
    dns.add(
        "text.test",
        RecordType::Txt,
        RecordData::Txt(b"one".to_vec()),
    );
    dns.add(
        "alias.test",
        RecordType::Cname,
        RecordData::Cname("both.test".to_owned()),
    );
    dns.add(
        "zone.test",
        RecordType::Ns,
        RecordData::Ns("ns.test".to_owned()),
    );
    dns.add(
        "1.2.0.192.in-addr.arpa",
        RecordType::Ptr,
        RecordData::Ptr("host.test".to_owned()),
    );
    dns.add_address("1.2.0.192.bl.test", Ipv4Addr::new(127, 0, 0, 2).into());
    dns.fail("broken.test", RecordType::A, DnsError::ServFail);
    dns.fail("broken.test", RecordType::Aaaa, DnsError::TryAgain);
    bench
}

#[test]
fn lists_are_given_and_empty_ones_for_every_failure() {
    let bench = bench();
    for (expression, expected) in [
        (
            r#"dns("both.test")"#,
            r#"[0=>"192.0.2.1",1=>"2001:db8::1"]"#,
        ),
        (r#"dns("four.test")"#, r#"[0=>"192.0.2.4"]"#),
        (
            r#"dns("both.test", ["type" => "aaaa"])"#,
            r#"[0=>"2001:db8::1"]"#,
        ),
        (
            r#"dns("alias.test", ["type" => "cname"])"#,
            r#"[0=>"both.test"]"#,
        ),
        (
            r#"dns("four.test", ["extended_result" => true])"#,
            r#"["result"=>[0=>"192.0.2.4"],"dnssec"=>false]"#,
        ),
        (
            r#"dns("broken.test", ["extended_result" => true])"#,
            r#"["error"=>"SERVFAIL","dnssec"=>false]"#,
        ),
        (r#"dns("broken.test")"#, "[]"),
        (r#"dns("missing.test")"#, "[]"),
        (r#"dns("bad name")"#, "[]"),
        (r#"dns4("alias.test")"#, r#"[0=>"192.0.2.1"]"#),
        (r#"dns6("both.test")"#, r#"[0=>"2001:db8::1"]"#),
        (r#"dnsmx("mail.test")"#, r#"[0=>"a.test",1=>"b.test"]"#),
        (r#"dnstxt("text.test")"#, r#"[0=>"one"]"#),
        (r#"dnscname("alias.test")"#, r#"[0=>"both.test"]"#),
        (r#"dnsns("zone.test")"#, r#"[0=>"ns.test"]"#),
        (r#"dnsptr("192.0.2.1")"#, r#"[0=>"host.test"]"#),
        (r#"dnsptr("192.0.2.2")"#, "[]"),
        (r#"dnsbl("192.0.2.1", "bl.test")"#, r#"[0=>"127.0.0.2"]"#),
        (r#"dnsbl("192.0.2.2", "bl.test", [], 1)"#, "[]"),
        (r#"dnsbl("nobody", "bl.test")"#, "[]"),
    ] {
        let found = bench.run(&format!("return {expression};"));
        assert_eq!(found.as_deref(), Ok(expected), "{expression}");
    }
}

#[test]
fn names_and_servers_that_break_out_are_not_asked() {
    let bench = bench();
    for name in [
        "a\\r\\nb.test",
        "a\\x00b.test",
        "a b",
        "a..test",
        ".",
        &"x".repeat(64),
    ] {
        let found = bench.run(&format!("return dns_query(\"{name}\")[\"error\"];"));
        assert_eq!(found.as_deref(), Ok("\"NO_RECOVERY\""), "{name}");
    }
    let long = ["x".repeat(63).as_str(); 4].join(".");
    let found = bench.run(&format!("return dns_query(\"{long}\")[\"error\"];"));
    assert_eq!(found.as_deref(), Ok("\"NO_RECOVERY\""));
    for (options, expected) in [
        (r#"["servers" => ["dns.example"]]"#, "is no IP address"),
        (r#"["type" => "x"]"#, "unknown record type"),
        (r#"["timeout" => -1]"#, "must be a number of seconds"),
        (r#"["port" => 0]"#, "is no port"),
        (
            r#"["servers" => "192.0.2.1"]"#,
            "expected array, got string",
        ),
    ] {
        let error = bench.run(&format!("return dns_query(\"a.test\", {options});"));
        let error = error.expect_err(options);
        assert!(error.contains(expected), "{error}");
    }
}
