//! One definition, the changes that it goes through, and what is sent between them.

use turnpike::policy::Evaluator;
use turnpike::policy::model::Model;

use super::case::{Part, Shape, Shot};
use super::conversation::Conversation;
use super::draw;
use super::network::Network;
use super::oracle::{Memory, Oracle};
use super::packet::SYN;
use super::random::Random;
use super::router::TUNNEL;
use super::tally::Tally;
use super::world::{Mutant, Outcome, World};

/// Cases between two looks at what came out.
const BATCH: usize = 200;
/// Batches between two changes of the definition.
const BATCHES: usize = 12;
/// Conversations that are kept up at a time.
const CONVERSATIONS: usize = 120;

/// One definition and the changes that it goes through.
pub struct Trial<'a> {
    seed: u64,
    random: Random,
    model: Model,
    evaluator: Evaluator,
    world: World<'a>,
    memory: Memory,
    conversations: Vec<Conversation>,
    /// A port that no flow has had; the number of the next packet.
    fresh: u16,
    next: u32,
}

impl<'a> Trial<'a> {
    pub fn run(seed: u64, mutant: &'a Mutant, changes: usize, tally: &mut Tally) {
        let mut random = Random(seed);
        let mut network = Network::random(&mut random);
        let model = network.model();
        let world = World::new(&model, mutant);
        let evaluator = Evaluator::new(&model);
        let (memory, conversations) = (Memory::default(), Vec::new());
        let mut trial =
            Self { seed, random, model, evaluator, world, memory, conversations, fresh: 9999, next: 0xc0de_0000 };
        for change in 0..=changes {
            if change > 0 {
                network.edit(&mut trial.random);
                trial.model = network.model();
                trial.evaluator = Evaluator::new(&trial.model);
                trial.world.change(&trial.model);
                trial.forget();
            }
            for _ in 0..BATCHES {
                trial.batch(tally);
            }
            if tally.mismatches.len() > 20 {
                return;
            }
        }
        tally.definitions += 1;
    }

    /// What was denied and is allowed again begins anew: what the kernels saw of it meanwhile is not followed up.
    fn forget(&mut self) {
        let allowed = |conversation: &Conversation| {
            let ends = conversation.way.ends;
            let verdicts = [conversation.case.flow(ends), conversation.case.answered(ends)];
            verdicts.iter().any(|flow| self.evaluator.evaluate(flow).allows())
        };
        self.conversations.retain(|conversation| !conversation.denied || !allowed(conversation));
    }

    fn batch(&mut self, tally: &mut Tally) {
        let shots = self.draw();
        let oracle = Oracle { model: &self.model, evaluator: &self.evaluator, conversations: &self.conversations };
        let expected = oracle.expect(&shots, &mut self.memory);
        let outcomes = self.world.run(&shots);
        for ((shot, expected), outcome) in shots.iter().zip(&expected).zip(&outcomes) {
            tally.add(kind(shot), *expected);
            if *outcome != wanted(shot, *expected) {
                let verdicts = oracle.verdicts(shot);
                let about = match &shot.part {
                    Part::Next { of, .. } | Part::Error { of, .. } => Some(&self.conversations[*of]),
                    Part::First | Part::Stray | Part::Canary => None,
                };
                tally.mismatches.push(format!(
                    "seed {} expected {expected}, kernel {outcome:?}: {shot:?}, there {:?}, back {:?}, about {about:?}",
                    self.seed, verdicts.there, verdicts.back
                ));
            }
        }
        for (shot, expected) in shots.into_iter().zip(expected) {
            self.learn(shot, expected);
        }
        let surplus = self.conversations.len().saturating_sub(CONVERSATIONS);
        self.conversations.drain(..surplus);
        self.conversations.retain(|conversation| conversation.step < 14);
    }

    fn draw(&mut self) -> Vec<Shot> {
        let mut shots: Vec<Shot> = Vec::with_capacity(BATCH);
        let canary = self.random.below(BATCH);
        for number in 0..self.conversations.len() {
            if self.random.one_in(2) {
                let (way, case, part) = self.conversations[number].next(number, &mut self.random);
                shots.push(Shot { id: 0, way, case, part });
            }
        }
        while shots.len() < BATCH {
            self.fresh = if self.fresh == u16::MAX { 10_000 } else { self.fresh + 1 };
            let drawn = match () {
                () if shots.len() == canary => {
                    Some((draw::canary(&mut self.random, &self.model, self.fresh), Part::Canary))
                }
                () if self.random.one_in(20) => {
                    draw::stray(&mut self.random, &self.model, self.fresh).map(|it| (it, Part::Stray))
                }
                () => draw::first(&mut self.random, &self.model, self.fresh).map(|it| (it, Part::First)),
            };
            shots.extend(drawn.map(|((way, case), part)| Shot { id: 0, way, case, part }));
        }
        let oracle = Oracle { model: &self.model, evaluator: &self.evaluator, conversations: &self.conversations };
        shots.retain(|shot| decided(shot, &oracle));
        for shot in &mut shots {
            shot.id = self.next;
            self.next = self.next.wrapping_add(1);
        }
        shots
    }

    fn learn(&mut self, shot: Shot, passed: bool) {
        let oracle = Oracle { model: &self.model, evaluator: &self.evaluator, conversations: &self.conversations };
        let verdicts = oracle.verdicts(&shot);
        match shot.part {
            Part::First => {
                let opens = match shot.case.protocol {
                    6 => shot.case.flags == SYN,
                    1 | 17 | 58 => true,
                    _ => false,
                };
                let Some(by) =
                    verdicts.there.agreement().filter(|_| passed && opens && shot.case.shape == Shape::Whole)
                else {
                    return;
                };
                let Shot { way, case, .. } = shot;
                self.conversations.push(Conversation { way, case, step: 1, replied: false, denied: false, by });
            }
            Part::Next { of, client } => {
                let conversation = &mut self.conversations[of];
                let (first, second) =
                    if client { (verdicts.there, verdicts.back) } else { (verdicts.back, verdicts.there) };
                let by = first.agreement().or(second.agreement()).filter(|_| passed);
                conversation.by = by.unwrap_or(conversation.by);
                conversation.step += u32::from(passed);
                conversation.replied |= passed && !client;
                conversation.denied |= !passed;
            }
            Part::Error { .. } | Part::Stray | Part::Canary => {}
        }
    }
}

/// Whether the definition says what must become of it. It does not say whether guardrails leave enough of an agreement for
/// an error to pass a relay.
fn decided(shot: &Shot, oracle: &Oracle) -> bool {
    let relayed = shot.way.stops.iter().any(|stop| !stop.tracked);
    match &shot.part {
        Part::Error { of, .. } if relayed => {
            let Conversation { way, case, .. } = &oracle.conversations[*of];
            oracle.evaluator.evaluate(&case.flow(way.ends)).allows() || oracle.strangers(way.ends)
        }
        Part::Error { .. } | Part::First | Part::Next { .. } | Part::Stray | Part::Canary => true,
    }
}

fn wanted(shot: &Shot, passes: bool) -> Outcome {
    let arrived = if passes { vec![shot.way.shown; shot.pieces()] } else { Vec::new() };
    let quoted = match &shot.part {
        Part::Error { receiver, .. } if passes => Some(*receiver),
        Part::Error { .. } | Part::First | Part::Next { .. } | Part::Stray | Part::Canary => None,
    };
    Outcome { arrived, quoted, astray: Vec::new() }
}

fn kind(shot: &Shot) -> &'static str {
    let stops = &shot.way.stops;
    let local = stops[0].enter != TUNNEL && stops.iter().all(|stop| stop.leave != TUNNEL);
    match (&shot.part, shot.case.shape) {
        (Part::Canary, _) => "canary",
        (Part::Stray, _) => "stray",
        (Part::Error { .. }, _) => "error",
        (Part::Next { .. }, _) if stops.len() > 1 => "next, whole way",
        (Part::Next { .. }, _) => "next, one gateway",
        (Part::First, Shape::Fragments { .. }) => "fragments",
        (Part::First, Shape::Incomplete) => "incomplete fragments",
        (Part::First, Shape::Options) => "options",
        (Part::First, Shape::Whole) if shot.case.protocol == 132 => "first of SCTP",
        (Part::First, Shape::Whole) if local => "first between neighbours",
        (Part::First, Shape::Whole) if stops.len() > 1 => "first, whole way",
        (Part::First, Shape::Whole) if stops[0].tracked => "first, an edge",
        (Part::First, Shape::Whole) => "first, a relay",
    }
}
