//! What could be wrong with the compiler and must then be found: the control of the whole comparison.

use turnpike::bundle::{Match, Policy, Rule};

use super::network::CANARY_PORT;
use super::world::Mutant;

/// Changes every rule but the canary's.
fn each_rule(policy: &mut Policy, change: fn(&mut Match)) {
    let canary = Match::Port { protocol: 17, port: CANARY_PORT };
    policy.rules.iter_mut().filter(|rule| rule.matching != canary).for_each(|rule| change(&mut rule.matching));
    policy.rules.sort_unstable();
    policy.rules.dedup_by_key(|rule| (rule.department, rule.destination, rule.matching));
}

/// What could be wrong with the compiler, and must then be found.
pub const MUTANTS: [(&str, Mutant); 14] = [
    (
        "the end of a range is one more",
        policy_mutant(|policy| {
            each_rule(policy, |matching| {
                if let Match::Ports { last, .. } = matching {
                    *last = last.saturating_add(1);
                }
            })
        }),
    ),
    (
        "the begin of a range is one more",
        policy_mutant(|policy| {
            each_rule(policy, |matching| {
                if let Match::Ports { first, .. } = matching {
                    *first += 1;
                }
            })
        }),
    ),
    (
        "a port is one more",
        policy_mutant(|policy| {
            each_rule(policy, |matching| {
                if let Match::Port { port, .. } = matching {
                    *port = port.saturating_add(1);
                }
            })
        }),
    ),
    (
        "TCP is taken for UDP",
        policy_mutant(|policy| {
            each_rule(policy, |matching| match matching {
                Match::Port { protocol, .. } | Match::Ports { protocol, .. } if *protocol == 6 => *protocol = 17,
                _ => {}
            })
        }),
    ),
    (
        "one echo request is another query",
        policy_mutant(|policy| {
            each_rule(policy, |matching| {
                if let Match::Icmp { kind, .. } = matching {
                    *kind += 1;
                }
            })
        }),
    ),
    (
        "a grant is missing",
        policy_mutant(|policy| {
            policy.rules.pop();
        }),
    ),
    (
        "a grant is for another department",
        policy_mutant(|policy| {
            let departments: Vec<u32> = policy.departments.iter().map(|department| department.number).collect();
            if let (Some(rule), [first, second, ..]) = (policy.rules.last_mut(), &departments[..]) {
                rule.department = if rule.department == *first { *second } else { *first };
            }
            policy.rules.sort_unstable();
            policy.rules.dedup_by_key(|rule| (rule.department, rule.destination, rule.matching));
        }),
    ),
    (
        "guardrails are forgotten and their rules granted",
        policy_mutant(|policy| {
            policy.guardrails.clear();
            let any: Vec<Rule> = policy.rules.iter().map(|rule| Rule { matching: Match::Any, ..*rule }).collect();
            policy.rules.extend(any);
            policy.rules.sort_unstable();
            policy.rules.dedup_by_key(|rule| (rule.department, rule.destination, rule.matching));
        }),
    ),
    ("a relay's mirror is broken", script_mutant("nft flush chain inet turnpike c_try_back")),
    (
        "an edge's mirror is broken",
        script_mutant("nft flush chain inet turnpike c_back4; nft flush chain inet turnpike c_back6"),
    ),
    (
        "the source is not looked at",
        script_mutant("nft insert rule inet turnpike c_raw_segment meta mark set 0x80000000 accept"),
    ),
    ("everything between segments passes", script_mutant("nft insert rule inet turnpike c_local accept")),
    (
        "everything tracked passes",
        script_mutant("nft insert rule inet turnpike c_policy meta mark set 0x80000000 accept"),
    ),
    (
        "errors pass whatever they are about",
        script_mutant(
            "nft insert rule inet turnpike c_policy icmp type 3-12 ct state related meta mark set 0x80000000 accept",
        ),
    ),
];

const fn policy_mutant(policy: fn(&mut Policy)) -> Mutant {
    Mutant { policy, script: "" }
}

const fn script_mutant(script: &'static str) -> Mutant {
    Mutant { policy: |_| (), script }
}
