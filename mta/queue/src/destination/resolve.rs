//! Finding the candidates: MX, implicit MX, null MX (RFC 7505), addresses, loops.
//!
//! ```text
//!            MX target            answer
//!   new ──────────────► ask MX ──────────► ask A and AAAA of ten hosts ──► enough? ──► done
//!    │   host, literal     │ NODATA ──► the domain itself ─┘    ▲            │ no
//!    ├─────────────────────┼──────────────────────────────►     └────────────┘
//!    └── an address ──► done                                   the next ten hosts
//! ```

use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::attempt::{AttemptError, DnsError, EnhancedStatus, ErrorKind};
use crate::destination::{
    ADDRESSES, ADDRESSES_PER_HOST, Answer, Candidate, Lookup, LookupError, RecordType, Records,
    Request, Target, matches_mx, to_ascii,
};
use crate::random::{SplitMix, fnv1a};
use crate::text::Text;

/// What a [`Resolution`] wants next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Start this look-up; do not wait for it before asking for the next step.
    Lookup(Lookup),
    /// Wait for the answer to a look-up that was asked for.
    Wait,
    /// The candidates in the order to try them (at least one), or why there are none.
    Done(Result<Vec<Candidate>, AttemptError>),
}

/// The search for the addresses of one destination.
#[derive(Debug)]
pub struct Resolution {
    request: Request,
    /// The domain or host in A-labels.
    name: Arc<str>,
    to_ask: VecDeque<Lookup>,
    asked: BTreeSet<Lookup>,
    hosts: Vec<Host>,
    /// How many of `hosts` were asked for.
    hosts_asked: usize,
    mx_secure: bool,
    /// Whether there are exchangers that lead back to ourselves.
    looped: bool,
    done: Option<Result<Vec<Candidate>, AttemptError>>,
}

#[derive(Debug)]
struct Host {
    name: Arc<str>,
    preference: u16,
    addresses: Vec<IpAddr>,
    insecure: bool,
    /// The message of a look-up that may succeed later.
    failed: Option<String>,
    missing: bool,
}

impl Host {
    fn new(name: Arc<str>, preference: u16) -> Self {
        Host {
            name,
            preference,
            addresses: Vec::new(),
            insecure: false,
            failed: None,
            missing: false,
        }
    }
}

/// Hosts whose addresses are asked for at once.
const WAVE: usize = 10;
/// The most hosts of one domain that are looked at.
const HOSTS: usize = 50;

impl Resolution {
    /// Starts the search.
    pub fn new(request: Request) -> Self {
        let mut this = Resolution {
            request,
            name: Arc::from(""),
            to_ask: VecDeque::new(),
            asked: BTreeSet::new(),
            hosts: Vec::new(),
            hosts_asked: 0,
            mx_secure: true,
            looped: false,
            done: None,
        };
        this.start();
        this
    }

    /// What to do next.
    pub fn step(&mut self) -> Step {
        if let Some(done) = &self.done {
            return Step::Done(done.clone());
        }
        match self.to_ask.pop_front() {
            Some(lookup) => {
                self.asked.insert(lookup.clone());
                Step::Lookup(lookup)
            }
            None => Step::Wait,
        }
    }

    /// The result, once no look-up is needed any more.
    pub fn result(&self) -> Option<&Result<Vec<Candidate>, AttemptError>> {
        self.done.as_ref()
    }

    /// Takes the answer to a look-up. One that was not asked for is ignored.
    pub fn answer(&mut self, lookup: &Lookup, answer: Result<Answer, LookupError>) {
        if self.done.is_some() || !self.asked.remove(lookup) {
            return;
        }
        match lookup.kind {
            RecordType::Mx => self.mx_answer(answer),
            RecordType::A | RecordType::Aaaa => self.address_answer(lookup, answer),
        }
    }

    fn start(&mut self) {
        let (text, mx) = match &self.request.target {
            Target::MxOf(domain) => (domain.clone(), true),
            Target::Host(host) => (host.clone(), false),
        };
        if let Some(ip) = address(&text.to_str(), !mx) {
            return self.fixed_address(ip, mx);
        }
        let Some(name) = to_ascii(text.as_bytes()) else {
            let message = format!("{text} is not a domain name");
            return self.fail(DnsError::Other, false, message);
        };
        self.name = Arc::from(name);
        if mx {
            self.to_ask.push_back(Lookup {
                name: self.name.clone(),
                kind: RecordType::Mx,
            });
        } else {
            self.hosts.push(Host::new(self.name.clone(), 0));
            self.ask_addresses();
        }
    }

    fn fixed_address(&mut self, ip: IpAddr, guard: bool) {
        let Request {
            port,
            families,
            ip_exclude,
            own,
            ..
        } = &self.request;
        if ip.is_unspecified() {
            let message = format!("the destination {ip} is a placeholder for a delivery plugin");
            let error = AttemptError::new(ErrorKind::Config, false, message);
            self.done = Some(Err(error));
        } else if !families.allow(ip) {
            self.fail(
                DnsError::IpFamily,
                false,
                format!("no source address reaches {ip}"),
            );
        } else if ip_exclude.iter().any(|net| net.contains(&ip)) {
            self.fail(DnsError::Excluded, false, format!("{ip} is excluded"));
        } else if guard && own.has_socket(ip, *port) {
            self.fail_loop();
        } else {
            let mx = Text::from(ip.to_string());
            let candidate = Candidate {
                mx,
                ip,
                port: *port,
                preference: 0,
                secure: false,
            };
            self.done = Some(Ok(vec![candidate]));
        }
    }

    fn mx_answer(&mut self, answer: Result<Answer, LookupError>) {
        let records = match answer {
            Ok(Answer {
                records: Records::Mx(list),
                secure,
            }) => {
                self.mx_secure = secure;
                list
            }
            Ok(_) | Err(LookupError::NoData) => Vec::new(),
            Err(LookupError::NxDomain) => {
                let message = format!("{} does not exist", self.name);
                return self.fail(DnsError::NxDomain, false, message);
            }
            Err(LookupError::Temporary(message)) => {
                let message = format!("looking up MX of {}: {message}", self.name);
                return self.fail(DnsError::Other, true, message);
            }
        };
        if records.is_empty() {
            // RFC 5321 §5.1: the domain is its own exchanger with preference 0.
            self.hosts.push(Host::new(self.name.clone(), 0));
        } else {
            let null = |host: &str| host.is_empty() || host == ".";
            if records.iter().all(|(_, host)| null(host)) {
                let message = format!("{} takes no mail (null MX)", self.name);
                return self.fail(DnsError::NullMx, false, message);
            }
            let mut hosts: Vec<_> = records
                .iter()
                .filter_map(|(preference, host)| Some((*preference, to_ascii(host.as_bytes())?)))
                .collect();
            self.order(&mut hosts);
            let before = hosts.len();
            hosts.retain(|(_, host)| self.is_wanted(host));
            if hosts.is_empty() && before > 0 {
                let message = format!("every MX of {} is excluded", self.name);
                return self.fail(DnsError::Excluded, false, message);
            }
            self.hosts = hosts
                .into_iter()
                .map(|(pref, name)| Host::new(Arc::from(name), pref))
                .collect();
        }
        let own = self
            .hosts
            .iter()
            .find(|host| self.request.own.has_name(&host.name));
        if let Some(limit) = own.map(|host| host.preference) {
            self.cut(limit);
        }
        self.hosts.truncate(HOSTS);
        if self.hosts.is_empty() {
            return self.finish();
        }
        self.ask_addresses();
    }

    /// Sorts by preference, equals by chance; each host once, at its best place.
    fn order(&self, hosts: &mut Vec<(u16, String)>) {
        hosts.sort();
        let mut seen = BTreeSet::new();
        hosts.retain(|(_, host)| seen.insert(host.clone()));
        let mut random = SplitMix::new(self.seed(b""));
        for equals in hosts.chunk_by_mut(|a, b| a.0 == b.0) {
            random.shuffle(equals);
        }
    }

    fn seed(&self, about: &[u8]) -> u64 {
        fnv1a(&[self.request.transaction.as_bytes(), about])
    }

    fn is_wanted(&self, host: &str) -> bool {
        let Request {
            mx_include,
            mx_exclude,
            ..
        } = &self.request;
        let listed = |list: &[Text]| list.iter().any(|pattern| matches_mx(pattern, host));
        (mx_include.is_empty() || listed(mx_include)) && !listed(mx_exclude)
    }

    /// Drops the hosts that are no nearer to the destination than we are.
    fn cut(&mut self, preference: u16) {
        self.looped = true;
        self.hosts.retain(|host| host.preference < preference);
    }

    fn ask_addresses(&mut self) {
        let wave = self.hosts.iter().skip(self.hosts_asked).take(WAVE);
        for host in wave {
            for kind in [RecordType::Aaaa, RecordType::A] {
                self.to_ask.push_back(Lookup {
                    name: host.name.clone(),
                    kind,
                });
            }
        }
        self.hosts_asked = (self.hosts_asked + WAVE).min(self.hosts.len());
    }

    fn address_answer(&mut self, lookup: &Lookup, answer: Result<Answer, LookupError>) {
        if let Some(host) = self.hosts.iter_mut().find(|host| host.name == lookup.name) {
            match answer {
                Ok(Answer { records, secure }) => {
                    host.insecure |= !secure;
                    let addresses: Vec<IpAddr> = match records {
                        Records::A(list) => list.into_iter().map(IpAddr::V4).collect(),
                        Records::Aaaa(list) => list.into_iter().map(IpAddr::V6).collect(),
                        Records::Mx(_) => Vec::new(),
                    };
                    host.addresses
                        .extend(addresses.into_iter().filter(|ip| !is_nowhere(*ip)));
                }
                Err(LookupError::NxDomain) => host.missing = true,
                Err(LookupError::NoData) => {}
                Err(LookupError::Temporary(message)) => {
                    host.failed = Some(format!("looking up {}: {message}", host.name));
                }
            }
        }
        if self.to_ask.is_empty() && self.asked.is_empty() {
            self.wave_done();
        }
    }

    fn wave_done(&mut self) {
        let Request {
            target, own, port, ..
        } = &self.request;
        if matches!(target, Target::MxOf(_)) {
            let ours = |host: &&Host| host.addresses.iter().any(|ip| own.has_socket(*ip, *port));
            if let Some(limit) = self.hosts.iter().find(ours).map(|host| host.preference) {
                self.cut(limit);
                self.hosts_asked = self.hosts_asked.min(self.hosts.len());
            }
        }
        let found: usize = self.hosts.iter().map(|host| self.select(host).len()).sum();
        if found < ADDRESSES && self.hosts_asked < self.hosts.len() {
            self.ask_addresses();
        } else {
            self.finish();
        }
    }

    /// The addresses of a host that may be used: by chance, both families if it has both.
    fn select(&self, host: &Host) -> Vec<IpAddr> {
        let mut usable: Vec<IpAddr> = host
            .addresses
            .iter()
            .copied()
            .filter(|ip| self.may_use(*ip))
            .collect();
        usable.sort();
        usable.dedup();
        SplitMix::new(self.seed(host.name.as_bytes())).shuffle(&mut usable);
        let (v6, v4): (Vec<IpAddr>, Vec<IpAddr>) = usable.into_iter().partition(IpAddr::is_ipv6);
        // A broken IPv6 route must not keep a host out of reach: an IPv4 address is always among
        // them.
        let of_v6 = v6.len().min(ADDRESSES_PER_HOST - v4.len().min(1));
        let of_v4 = ADDRESSES_PER_HOST - of_v6;
        v6.into_iter()
            .take(of_v6)
            .chain(v4.into_iter().take(of_v4))
            .collect()
    }

    fn may_use(&self, ip: IpAddr) -> bool {
        let Request {
            families,
            ip_exclude,
            ..
        } = &self.request;
        families.allow(ip) && !ip_exclude.iter().any(|net| net.contains(&ip))
    }

    fn finish(&mut self) {
        let mut candidates: Vec<Candidate> = Vec::new();
        let mut taken = 0;
        for equals in self.hosts.chunk_by(|a, b| a.preference == b.preference) {
            let mut group = Vec::new();
            for host in equals {
                let room = ADDRESSES - taken;
                for ip in self.select(host).into_iter().take(room) {
                    taken += 1;
                    group.push(Candidate {
                        mx: Text::from(&*host.name),
                        ip,
                        port: self.request.port,
                        preference: host.preference,
                        secure: self.mx_secure && !host.insecure,
                    });
                }
            }
            // A stable sort: IPv6 first, hosts in their order.
            group.sort_by_key(|candidate| candidate.ip.is_ipv4());
            candidates.append(&mut group);
        }
        if !candidates.is_empty() {
            self.done = Some(Ok(candidates));
            return;
        }
        self.explain();
    }

    /// Finds the reason why there is no candidate.
    fn explain(&mut self) {
        if let Some(message) = self.hosts.iter().find_map(|host| host.failed.clone()) {
            return self.fail(DnsError::Other, true, message);
        }
        let mut found = self
            .hosts
            .iter()
            .flat_map(|host| &host.addresses)
            .peekable();
        let any = found.peek().is_some();
        let families = self.request.families;
        let all_of_other_family = any && found.all(|ip| !families.allow(*ip));
        let name = &self.name;
        if all_of_other_family {
            let message = format!("{name} has only addresses of a family that is not in use");
            self.fail(DnsError::IpFamily, false, message);
        } else if any {
            self.fail(
                DnsError::Excluded,
                false,
                format!("every address of {name} is excluded"),
            );
        } else if self.looped {
            self.fail_loop();
        } else if matches!(self.request.target, Target::Host(_))
            && self.hosts.iter().any(|host| host.missing)
        {
            self.fail(DnsError::NxDomain, false, format!("{name} does not exist"));
        } else {
            self.fail(
                DnsError::NoData,
                false,
                format!("{name} has no host with an address"),
            );
        }
    }

    fn fail(&mut self, why: DnsError, temporary: bool, message: String) {
        self.done = Some(Err(AttemptError::new(
            ErrorKind::Dns(why),
            temporary,
            message,
        )));
    }

    fn fail_loop(&mut self) {
        let message = format!("mail for {} loops back to this host", self.target());
        let mut error = AttemptError::new(ErrorKind::Dns(DnsError::Other), false, message);
        error.status = Some(EnhancedStatus::new(5, 4, 6));
        self.done = Some(Err(error));
    }

    fn target(&self) -> &Text {
        let (Target::MxOf(text) | Target::Host(text)) = &self.request.target;
        text
    }
}

/// The address that a text names: a literal in brackets (RFC 5321 §4.1.3), or bare if `bare`.
fn address(text: &str, bare: bool) -> Option<IpAddr> {
    let Some(inner) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    else {
        return if bare { text.parse().ok() } else { None };
    };
    match inner.get(..5) {
        Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => {
            inner.get(5..)?.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
        _ => inner.parse().ok(),
    }
}

/// Addresses to which nothing can be sent, whatever DNS says.
fn is_nowhere(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    ip.is_unspecified() || ip.is_multicast() || broadcast
}

#[cfg(test)]
mod tests;
