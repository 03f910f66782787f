//! The configuration and the scripts of a run.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use angarium::scripts::{NoRoot, Scripts};
use angarium_config::{Config, MemoryFiles, Options, Source, load};
use angarium_effects::dns::TableDns;
use angarium_effects::{RecordData, RecordType};

use crate::dice::Dice;
use crate::limits::Limit;
use crate::plan::{Plan, Planted};

/// Where the machine takes mail.
pub const MACHINE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 25)), 25);
/// The domain of all senders.
pub const HOME: &str = "home.test";
/// The host of that domain.
pub const HOME_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

/// The name and address of a host.
pub fn host(number: usize) -> (String, IpAddr) {
    let last = u8::try_from(10 + number).unwrap_or(u8::MAX);
    let address = Ipv4Addr::new(203, 0, 113, last);
    (format!("mx{number}.test"), address.into())
}

/// The source address of a number.
pub fn source(number: usize) -> IpAddr {
    let last = u8::try_from(100 + number).unwrap_or(u8::MAX);
    Ipv4Addr::new(192, 0, 2, last).into()
}

/// A domain, of which there is one more than hosts.
pub fn domain(number: usize) -> String {
    format!("d{number}.test")
}

/// Every domain has one to three of the hosts, in some order.
pub fn names(plan: &Plan) -> TableDns {
    let dice = Dice::new(plan.seed, 2);
    let table = TableDns::default();
    table.add_address("home-mx.test", HOME_ADDRESS);
    let mx = |domain: &str, preference: u16, exchange: &str| {
        let exchange = exchange.to_owned();
        let data = RecordData::Mx {
            preference,
            exchange,
        };
        table.add(domain, RecordType::Mx, data);
    };
    mx(HOME, 10, "home-mx.test");
    for number in 0..plan.hosts.len() {
        let (name, address) = host(number);
        table.add_address(&name, address);
    }
    for number in 0..=plan.hosts.len() {
        let first = dice.below(plan.hosts.len() as u64);
        for step in 0..dice.between(1, plan.hosts.len().min(3) as u64) {
            let which = (first + step) as usize % plan.hosts.len();
            let preference = if dice.chance(500) { 10 } else { 20 };
            mx(&domain(number), preference, &host(which).0);
        }
    }
    table
}

/// What the machine is started with.
pub struct Bundle {
    pub config: Config,
    pub scripts: Arc<Scripts>,
}

impl Bundle {
    /// # Errors
    /// The bundle is wrong, which is a mistake of the simulation.
    pub fn new(plan: &Plan) -> Result<Bundle, String> {
        let files: MemoryFiles = files(plan)
            .into_iter()
            .map(|(path, text)| (format!("/b/src/{path}"), text))
            .collect();
        let loaded = load(&files, &Source::Tree("/b".into()), &Options::default());
        let config = loaded.map_err(|errors| errors.to_string())?.config;
        let compiled = Scripts::compile(&config.startup, &config.running, Arc::new(NoRoot));
        let (scripts, warnings) = compiled.map_err(|errors| errors.to_string())?;
        if !warnings.is_empty() {
            return Err(warnings.join("\n"));
        }
        Ok(Bundle {
            config,
            scripts: Arc::new(scripts),
        })
    }
}

fn files(plan: &Plan) -> Vec<(&'static str, String)> {
    let dice = Dice::new(plan.seed, 3);
    let startup = format!(
        "version: '6.0'
queues: {{maxmessages: {}}}
servers:
  - id: default
    listeners: [{{port: {}, address: {}}}]
spool: {{path: /spool/queue, tmp: /spool/tmp, fsync: {}, corrupt: abort, minfree: {{bytes: {}, inodes: 0}}}}
",
        plan.room,
        MACHINE.port(),
        MACHINE.ip(),
        plan.planted != Planted::NoSync,
        plan.minfree,
    );
    let mut running = format!(
        "version: '6.0'
queues: {{concurrency: {{total: {}}}, pooling: {{size: {}}}}}
{}servers:
  - id: default
    hostname: mta.test
    remoteptr: {}
    transport: out
    relay: [198.51.100.0/24]
",
        plan.total,
        dice.between(0, 4),
        addresses(plan),
        dice.chance(500),
    );
    let mut files = vec![("config/smtpd.yaml", startup)];
    if plan.scripts {
        running.push_str("    phases: {rcptto: {hook: default}, eod: {hook: default}}\n");
        files.push(("hooks/rcptto/default.hsl", RCPTTO.to_owned()));
        files.push(("hooks/eod/default.hsl", EOD.to_owned()));
        if dice.chance(600) {
            files.push(("hooks/queue/predelivery.hsl", PREDELIVERY.to_owned()));
        }
        if dice.chance(700) {
            files.push(("hooks/queue/postdelivery.hsl", POSTDELIVERY.to_owned()));
        }
    }
    let _ = write!(
        running,
        "transportgroups:
  - id: default
    dsn: {{transport: notices}}
    transports:
      - id: out
        retry: {{count: {}, maxage: {}, jitter: {}, intervals: [{{interval: {}}}, {{interval: {}, notify: {}}}, {{interval: 900}}]}}
        session: {{tls: {{mode: disabled}}}}
{}      - id: notices
        retry: {{count: 100000, intervals: [{{interval: 60}}, {{interval: 300}}]}}
        session: {{tls: {{mode: disabled}}}}
",
        dice.between(1, 8),
        plan.maxage,
        *dice.pick(&[0, 30]),
        dice.between(10, 300),
        dice.between(60, 900),
        dice.chance(500),
        sources(plan, &dice),
    );
    files.push(("config/smtpd-app.yaml", running));
    files.push(("config/smtpd-policy.yaml", policies(plan, &dice)));
    if plan.pooling {
        let delivery = format!(
            "version: '6.0'
delivery:
  default: {{pooling: {{enabled: true, timeout: {}, transactions: {}, evictable: {}}}}}
",
            dice.between(1, 120),
            dice.below(5),
            dice.chance(700),
        );
        files.push(("config/smtpd-delivery.yaml", delivery));
    }
    files
}

fn addresses(plan: &Plan) -> String {
    let list = (0..plan.sources.len()).map(|number| {
        let address = source(number);
        format!("  - {{id: a{number}, address: {address}, hostname: a{number}.mta.test}}\n")
    });
    let list: String = list.collect();
    match list.is_empty() {
        true => list,
        false => format!("addresses:\n{list}"),
    }
}

fn sources(plan: &Plan, dice: &Dice) -> String {
    let list: Vec<String> = (0..plan.sources.len())
        .map(|number| format!("a{number}"))
        .collect();
    match list.is_empty() {
        true => String::new(),
        false => format!(
            "        connection: {{sourceip: {{addresses: [{}], random: {}}}}}\n",
            list.join(", "),
            dice.chance(500),
        ),
    }
}

fn policies(plan: &Plan, dice: &Dice) -> String {
    let mut text = "version: '6.0'\n".to_owned();
    if plan.fixed_window {
        text.push_str("rate: {algorithm: fixedwindow}\n");
    }
    let mut list = String::new();
    let more = u32::from(plan.planted == Planted::WrongLimit);
    let mut conditions = String::new();
    for (number, limit) in plan.hosts.iter().enumerate() {
        conditions.push_str(&condition(
            &format!("remotemx: {}", host(number).0),
            limit,
            more,
        ));
    }
    // What a host is counted by beside its name is the same for all deliveries. What is set at run time joins the
    // policy that has its very fields.
    let fields = *dice.pick(&[
        "[remotemx]",
        "[remotemx, transportid]",
        "[remotemx, remoteip]",
    ]);
    let fields = if plan.changes > 0 {
        "[remotemx]"
    } else {
        fields
    };
    list.push_str(&policy(fields, &conditions));
    if let Some((count, limit)) = &plan.group {
        let names: Vec<String> = (0..*count).map(|number| host(number).0).collect();
        // Messages of the transport alone go to these hosts.
        let fields = format!(
            "[transportid, {{remotemx: {{group: [{}]}}}}]",
            names.join(", ")
        );
        list.push_str(&policy(
            &fields,
            &condition("remotemx: '#group'", limit, more),
        ));
    }
    let mut conditions = String::new();
    for (number, limit) in plan.sources.iter().enumerate() {
        conditions.push_str(&condition(
            &format!("localip: {}", source(number)),
            limit,
            0,
        ));
    }
    list.push_str(&policy("[localip]", &conditions));
    if !list.is_empty() {
        let _ = write!(text, "policies:{list}");
    }
    text
}

fn policy(fields: &str, conditions: &str) -> String {
    match conditions.is_empty() {
        true => String::new(),
        false => format!("\n  - fields: {fields}\n    conditions:{conditions}"),
    }
}

fn condition(when: &str, limit: &Limit, more: u32) -> String {
    let mut then = Vec::new();
    then.extend(
        limit
            .concurrency
            .map(|most| format!("concurrency: {}", most + more)),
    );
    then.extend(
        limit
            .rate
            .map(|(count, seconds)| format!("rate: {count}/{seconds}")),
    );
    then.extend(
        limit
            .interval
            .map(|seconds| format!("connectinterval: {seconds}")),
    );
    match then.is_empty() {
        true => String::new(),
        false => format!(
            "\n      - {{if: {{{when}}}, then: {{{}}}}}",
            then.join(", ")
        ),
    }
}

const RCPTTO: &str = r#"
$n = memory_inc("recipients");
if ($n % 7 == 3) Defer("Come back");
Accept(["transportid" => "out"]);
"#;

const EOD: &str = r#"
$mail = $arguments["mail"];
$n = memory_inc("messages");
if ($n % 5 == 4) Defer("Come back later");
$mail->addHeader("X-Seen-By", "eod " . $n);
foreach ($transaction["recipients"] as $recipient)
    $mail->queue($transaction["senderaddress"], $recipient["address"], $recipient["transportid"], [
        "metadata" => ["count" => "$n"],
    ]);
Accept();
"#;

const PREDELIVERY: &str = r#"
function weight($domain) { return length($domain); }
$n = memory_inc("attempts");
$w = cache ["ttl" => 300] weight($message["recipientaddress"]["domain"]);
if ($n % 11 == 7 and $arguments["retry"] < 2) Queue(["delay" => 40]);
if ($n % 9 == 5) queue_suspend(["recipientdomain" => $message["recipientaddress"]["domain"]], 90);
$context = ["n" => $n, "w" => $w];
Try();
"#;

const POSTDELIVERY: &str = r#"
$connection = $arguments["attempt"]["connection"] ?? [];
if (isset($arguments["action"]) and isset($connection["remoteip"]))
{
    $ip = $connection["remoteip"];
    if (memory_inc("failures:" . $ip) >= 3)
        cache ["ttl" => 300] queue_policy(["remoteip"], ["remoteip" => $ip], ["concurrency" => 1], 300);
    $code = $arguments["attempt"]["result"]["code"] ?? 0;
    if ($arguments["action"] == "QUEUE" and $code == 451) Queue(["delay" => 20]);
}
"#;
