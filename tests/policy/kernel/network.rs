//! Random definitions, as the files that people would write, and changes to them.
//!
//! | gateway | council | departments |
//! |---|---|---|
//! | e0 | c0 | c0/d0, c0/d1 |
//! | e1 | c1 | c1/d0, c1/d1 |
//! | e2 | c2 | c2/d0, seen from afar alone |
//! | hub | gov | gov/d0 |
//!
//! Prefixes lie side by side, so that a step out of one leads into the next; some departments have one family alone, some
//! are mapped and some have their overlay addresses for real. One service and one agreement stay as they are: the canary's.

use std::fmt::Write as _;
use std::net::IpAddr;

use turnpike::net::Prefix;
use turnpike::policy::model::Model;
use turnpike::policy::{self, Files};

use super::random::Random;
use crate::definition::{allotted, lines, signer, text, time};

/// Where services like to be, so that ranges begin and end beside each other.
pub const PORTS: [u16; 6] = [1, 80, 443, 5000, 5100, 9000];
/// The canary's.
pub const CANARY_PORT: u16 = 7;
/// The instant of every judgement.
const NOW: &str = "2026-06-01T10:00:00Z";
const GATEWAYS: [(&str, &str); 6] =
    [("c0/d0", "e0"), ("c0/d1", "e0"), ("c1/d0", "e1"), ("c1/d1", "e1"), ("c2/d0", "e2"), ("gov/d0", "hub")];
/// `GATEWAYS[CANARY]` has the canary, `GATEWAYS[0]` asks for it.
const CANARY: usize = 2;

struct Standing {
    /// Pairs of one family each.
    real: Vec<Prefix>,
    overlay: Vec<Prefix>,
    tagged: bool,
}

struct Offer {
    department: usize,
    /// How far into each prefix of its department; from the end, where negative.
    hosts: Vec<i32>,
    ports: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Signed,
    Unsigned,
    Ended,
    NotYet,
    /// At hours of which this is the first minute.
    Open,
    /// At hours that were over a moment ago.
    Closed,
}

/// Those of agreements that are not as most are.
const ODD: [State; 5] = [State::Unsigned, State::Ended, State::NotYet, State::Open, State::Closed];

struct Accord {
    id: usize,
    offer: usize,
    from: Vec<String>,
    state: State,
}

struct Rail {
    id: usize,
    deny: String,
    to: String,
}

/// What the files are made of.
pub struct Network {
    standings: Vec<Standing>,
    offers: Vec<Offer>,
    accords: Vec<Accord>,
    rails: Vec<Rail>,
    /// The last id given out, of agreements and guardrails.
    last: usize,
    allotted: Option<String>,
}

fn parse(text: &str) -> Prefix {
    text.parse().expect(text)
}

/// The address so far into a prefix; from its end, where negative.
pub fn host(prefix: Prefix, at: i32) -> IpAddr {
    let (from, by) = (if at < 0 { prefix.last() } else { prefix.address() }, i128::from(at));
    match from {
        IpAddr::V4(from) => {
            u32::try_from(i128::from(u32::from(from)) + by + i128::from(at < 0)).expect("IPv4").to_be_bytes().into()
        }
        IpAddr::V6(from) => u128::from(from).wrapping_add_signed(by + i128::from(at < 0)).to_be_bytes().into(),
    }
}

impl Network {
    pub fn random(random: &mut Random) -> Self {
        let standings = standings(random);
        let canary = Offer { department: CANARY, hosts: vec![2], ports: vec![format!("udp/{CANARY_PORT}")] };
        let asks = Accord { id: 1, offer: 0, from: vec![GATEWAYS[0].0.to_owned()], state: State::Signed };
        let mut network =
            Self { standings, offers: vec![canary], accords: vec![asks], rails: Vec::new(), last: 1, allotted: None };
        for _ in 0..12 {
            network.offers.push(offer(random));
        }
        for _ in 0..24 {
            network.agree(random);
        }
        for _ in 0..random.below(4) {
            network.forbid(random);
        }
        network
    }

    /// One of the changes that people make; half of them take something away.
    pub fn edit(&mut self, random: &mut Random) {
        let some = |random: &mut Random, length: usize| (length > 1).then(|| 1 + random.below(length - 1));
        match random.below(10) {
            0..3 => {
                if let Some(at) = some(random, self.accords.len()) {
                    self.accords.remove(at);
                }
            }
            3..5 => {
                if let Some(at) = some(random, self.accords.len()) {
                    self.accords[at].state = random.pick(&ODD);
                }
            }
            5 => self.forbid(random),
            6 if !self.rails.is_empty() => drop(self.rails.remove(random.below(self.rails.len()))),
            7 => {
                if let Some(at) = some(random, self.offers.len()) {
                    self.offers[at].ports = ports(random);
                }
            }
            _ => {
                self.agree(random);
                self.agree(random);
            }
        }
    }

    fn agree(&mut self, random: &mut Random) {
        self.last += 1;
        let offer = 1 + random.below(self.offers.len() - 1);
        let own = GATEWAYS[self.offers[offer].department].0;
        let mut from: Vec<String> = (0..=random.below(2)).map(|_| random.pick(&GATEWAYS).0.to_owned()).collect();
        from.retain(|name| name != own);
        if from.is_empty() || random.one_in(8) {
            from.push("tag:x".to_owned());
        }
        from.sort();
        from.dedup();
        let odd = random.one_in(6);
        let state = if odd { random.pick(&ODD) } else { State::Signed };
        self.accords.push(Accord { id: self.last, offer, from, state });
    }

    /// A denial of anything but the canary.
    fn forbid(&mut self, random: &mut Random) {
        self.last += 1;
        let standing = &self.standings[random.pick(&[0, 1, 3, 4, 5])];
        let prefix = random.pick(&standing.overlay);
        let deny = match random.below(5) {
            0 => "any".to_owned(),
            1 => random.pick(&["c0", "c1", "gov"]).to_owned(),
            2 => random.pick(&GATEWAYS).0.to_owned(),
            3 => parse(&format!("{}/{}", prefix.address(), prefix.length() + 1)).to_string(),
            _ => prefix.to_string(),
        };
        let offer = 1 + random.below(self.offers.len() - 1);
        let standing = &self.standings[random.pick(&[0, 1, 3, 4, 5])];
        let prefix = random.pick(&standing.overlay);
        let first = random.pick(&PORTS);
        let to = match random.below(8) {
            0 => format!("tcp/{first}-{}", first + 1),
            1 => format!("tcp/{first}"),
            2 => random.pick(&["esp", "ah", "icmp/echo-request", "udp/5000-5100", "sctp/1-65535"]).to_owned(),
            3 if deny != "any" && !deny.starts_with("c0") && !self.standings[0].has(&deny) => "any".to_owned(),
            4 | 5 => service(offer, &self.offers),
            6 => random.pick(&["c0/d1", "c1/d1", "gov/d0"]).to_owned(),
            _ => Prefix::host(host(prefix, random.pick(&[2, 3, -2]))).to_string(),
        };
        self.rails.push(Rail { id: self.last, deny, to });
    }

    /// Writes, signs and numbers it, and reads it as the command line does.
    pub fn model(&mut self) -> Model {
        let files = self.files();
        let resolved = policy::resolve(&files, time(NOW));
        resolved.unwrap_or_else(|found| panic!("it holds:\n{}", lines(&found))).model
    }

    /// The definition's folder.
    pub fn files(&mut self) -> Files {
        let mut files = Files::new();
        files.insert("network.toml", self.network());
        for (council, edge) in [("c0", "e0"), ("c1", "e1"), ("c2", "e2"), ("gov", "")] {
            files.insert(format!("councils/{council}.toml"), self.council(council, edge));
        }
        for accord in &self.accords {
            files.insert(format!("agreements/A-{}.toml", accord.id), self.agreement(accord));
        }
        self.sign(&mut files);
        if let Some(before) = self.allotted.take() {
            files.insert("allotted.toml", before);
        }
        let files = allotted(files);
        self.allotted = Some(text(&files, "allotted.toml"));
        files
    }

    fn network(&self) -> String {
        let mut text = "[network]\nname = \"random\"\noverlay = [\"100.64.0.0/10\", \"fd64::/48\"]\n\
            management = \"100.127.0.0/16\"\n[[hub]]\nname = \"hub\"\nendpoints = [\"192.0.2.1:51820\"]\n\
            [[class]]\nname = \"routine\"\nlease = \"72h\"\n"
            .to_owned();
        for Rail { id, deny, to } in &self.rails {
            write!(text, "[[guardrail]]\nid = \"G-{id}\"\ndeny = \"{deny}\"\nto = \"{to}\"\n")
                .expect("a String takes it");
        }
        text
    }

    fn council(&self, council: &str, edge: &str) -> String {
        let key = signer(council).verifier();
        let mut text =
            format!("[council]\nname = \"{council}\"\n[[council.signer]]\nby = \"siro@{council}\"\nkey = \"{key}\"\n");
        if !edge.is_empty() {
            text += &format!("[[edge]]\nname = \"{edge}\"\nuplinks = [{{ name = \"wan\", device = \"wan0\" }}]\n");
        }
        let own = |name: &str| name.split('/').next() == Some(council);
        for ((name, at), standing) in GATEWAYS.iter().zip(&self.standings).filter(|((name, _), _)| own(name)) {
            text += &standing.to_toml(name, at);
        }
        for (number, offer) in self.offers.iter().enumerate().filter(|(_, offer)| own(GATEWAYS[offer.department].0)) {
            text += &self.service(number, offer);
        }
        text
    }

    fn service(&self, number: usize, offer: &Offer) -> String {
        let department = GATEWAYS[offer.department].0.split('/').nth(1).expect("a department");
        let prefixes = &self.standings[offer.department].real;
        let hosts = offer.hosts.iter().flat_map(|&at| prefixes.iter().map(move |prefix| host(*prefix, at).to_string()));
        format!(
            "[[service]]\nname = \"s{number}\"\ndepartment = \"{department}\"\nhosts = {}\nports = {}\n",
            list(hosts),
            list(&offer.ports)
        )
    }

    fn agreement(&self, accord: &Accord) -> String {
        let date = match accord.state {
            State::Signed | State::Unsigned => "",
            State::Ended => "not_after = 2026-06-01T09:59:59Z\n",
            State::NotYet => "not_before = 2026-06-01T10:00:01Z\n",
            State::Open => "hours = \"Mon 11:00-11:01 Europe/London\"\n",
            State::Closed => "hours = \"Mon-Tue 10:00-11:00 Europe/London\"\n",
        };
        format!(
            "[agreement]\nid = \"A-{}\"\nservice = \"{}\"\nfrom = {}\nclass = \"routine\"\n{date}",
            accord.id,
            service(accord.offer, &self.offers),
            list(&accord.from)
        )
    }

    fn sign(&self, files: &mut Files) {
        let all = policy::terms(files).unwrap_or_else(|found| panic!("it holds:\n{}", lines(&found)));
        let unsigned = |id: &str| {
            let mut those = self.accords.iter().filter(|accord| accord.state == State::Unsigned);
            those.any(|accord| id == format!("A-{}", accord.id))
        };
        for (id, terms) in all {
            let mut written = text(files, &format!("agreements/{id}.toml"));
            let councils = terms.councils.iter().skip(usize::from(unsigned(id.as_str())));
            for council in councils {
                let (hash, signature) = (terms.hash(), terms.sign(&signer(council.as_str())));
                let consent = format!(
                    "council = \"{council}\"\nby = \"siro@{council}\"\nterms = \"{hash}\"\nsignature = \"{signature}\"\n"
                );
                written += &format!("[[agreement.consent]]\n{consent}");
            }
            files.insert(format!("agreements/{id}.toml"), written);
        }
    }
}

impl Standing {
    /// Whether a prefix written in a guardrail is one of its own, or part of one.
    fn has(&self, text: &str) -> bool {
        text.parse::<Prefix>().is_ok_and(|prefix| self.overlay.iter().any(|own| own.overlaps(prefix)))
    }

    fn to_toml(&self, name: &str, at: &str) -> String {
        let name = name.split('/').nth(1).expect("a department");
        let number = if name == "d0" { 1 } else { 2 };
        let gateways = self.real.iter().map(|prefix| format!("{}/{}", host(*prefix, 1), prefix.length()));
        let tags = if self.tagged { "tags = [\"x\"]\n" } else { "" };
        format!(
            "[[department]]\nname = \"{name}\"\nat = \"{at}\"\nsegment = {{ device = \"eth{number}\" }}\ngateway = {}\n\
             real = {}\noverlay = {}\n{tags}",
            list(gateways),
            list(self.real.iter().map(Prefix::to_string)),
            list(self.overlay.iter().map(Prefix::to_string)),
        )
    }
}

fn list(items: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let quoted: Vec<String> = items.into_iter().map(|item| format!("\"{}\"", item.as_ref())).collect();
    format!("[{}]", quoted.join(", "))
}

fn service(number: usize, offers: &[Offer]) -> String {
    let council = GATEWAYS[offers[number].department].0.split('/').next().expect("a council");
    format!("{council}/s{number}")
}

fn standings(random: &mut Random) -> Vec<Standing> {
    // Side by side in the overlay, whatever their size.
    let mut next = 0x6440_1000_u32;
    let mut all = Vec::new();
    for number in 0..GATEWAYS.len() {
        let length: u8 = random.pick(&[24, 25, 26, 27, 28]);
        let size = 1_u32 << (32 - length);
        next = next.next_multiple_of(size);
        let v4 = parse(&format!("{}/{length}", std::net::Ipv4Addr::from(next)));
        next += size;
        let long: u8 = random.pick(&[64, 120]);
        let v6 = parse(&format!("fd64::{number}:0:0:0:0/{long}"));
        let real6 = parse(&format!("fd00:{number}::/{long}"));
        // Two departments at one gateway must not have the same; those of two gateways like to.
        let real4 = parse(&format!("192.168.{}.0/{length}", number % 2));
        let mapped = random.pick(&[(true, true), (true, true), (true, false), (false, true), (false, false)]);
        let four = (if mapped.0 { real4 } else { v4 }, v4);
        let six = (if mapped.1 { real6 } else { v6 }, v6);
        // The canary's two ends need IPv4.
        let pairs = match random.below(6) {
            0 => vec![four],
            1 if number != 0 && number != CANARY => vec![six],
            _ => vec![four, six],
        };
        let (real, overlay) = pairs.into_iter().unzip();
        all.push(Standing { real, overlay, tagged: random.one_in(3) || number == 5 });
    }
    all
}

fn offer(random: &mut Random) -> Offer {
    let mut hosts: Vec<i32> = (0..=random.below(2)).map(|_| random.pick(&[2, 3, 9, -2, -3])).collect();
    hosts.sort_unstable();
    hosts.dedup();
    Offer { department: random.below(GATEWAYS.len()), hosts, ports: ports(random) }
}

fn ports(random: &mut Random) -> Vec<String> {
    let mut all: Vec<String> = (0..=random.below(3)).map(|_| port(random)).collect();
    all.sort();
    all.dedup();
    all
}

fn port(random: &mut Random) -> String {
    let protocol = random.pick(&["tcp", "tcp", "udp", "sctp"]);
    let first = random.pick(&PORTS);
    match random.below(13) {
        0 => "any".to_owned(),
        1 => "esp".to_owned(),
        2 => random.pick(&["gre", "ah"]).to_owned(),
        3 => "icmp/echo-request".to_owned(),
        4 => "icmp/timestamp-request".to_owned(),
        5 | 6 => format!("{protocol}/{first}-{}", first + 9),
        7 | 8 => format!("{protocol}/{first}-{}", first + 900),
        9 => format!("{protocol}/1-65535"),
        _ => format!("{protocol}/{first}"),
    }
}
