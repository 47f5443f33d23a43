//! What many peers cost: `cargo bench --bench peers`.

use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use criterion::{Criterion, criterion_group, criterion_main};
use turnpike::identity::PrivateKey;
use turnpike::tunnel::peer::{Consumed, Engine};
use turnpike::tunnel::{Arrival, Batch, Hop, Identity, LinkConfig, Manner, Moment, Outcome, Path, Shard, SocketSlot};

const SOCKET: SocketSlot = SocketSlot(0);
/// The time in which each link is ticked once.
const ROUND: Duration = Duration::from_millis(200);
const SLOT: Duration = Duration::from_millis(10);

/// A hub with many links.
struct Hub {
    shard: Shard,
    key: PrivateKey,
    moment: Moment,
    out: Batch<Hop>,
    packets: Batch<Outcome>,
    edges: Vec<PrivateKey>,
}

impl Hub {
    fn new(edges: u32) -> Self {
        let moment = Moment { now: Instant::now(), wall: SystemTime::now() };
        let key = PrivateKey::generate().expect("entropy");
        let identity = Arc::new(Identity::new(&key));
        let mut shard = Shard::new(0, 5, false, moment);
        shard.set_identity(SOCKET, Some(Arc::clone(&identity)));
        let edges: Vec<_> = (0..edges).map(|_| PrivateKey::generate().expect("entropy")).collect();
        for edge in &edges {
            let (identity, key) = (Arc::clone(&identity), edge.public());
            let config = LinkConfig { socket: SOCKET, identity, key, preshared: None, manner: Manner::default() };
            shard.add(config, moment.now).expect("room for a link");
        }
        Self { shard, key, moment, out: Batch::new(2), packets: Batch::new(2), edges }
    }

    fn pass(&mut self, time: Duration) {
        self.moment.now += time;
        self.moment.wall += time;
    }

    fn take(&mut self, from: u32, datagram: &[u8]) {
        let address = IpAddr::from((0x0a00_0000 + from).to_be_bytes());
        let arrival =
            Arrival { socket: SOCKET, via: Path { to: SocketAddr::new(address, 1), source: None }, tos: 0, datagram };
        self.shard.ingress(arrival, self.moment, &mut self.packets, &mut self.out).expect("taken");
        self.shard.handshake(self.moment, &mut self.out).map(|shaken| shaken.expect("accepted"));
    }

    /// Makes a session with every edge.
    fn connect(&mut self) -> Vec<Engine> {
        let mut engines = Vec::new();
        for (number, edge) in (0..).zip(self.edges.clone()) {
            let mut engine = Engine::new(&Identity::new(&edge), &self.key.public(), None, 1);
            let mut octets = [0; 256];
            let length = engine.initiate(&mut octets, self.moment.now).expect("room").expect("an initiation");
            self.out.clear();
            self.take(number, &octets[..length]);
            let answer = self.out.entry(0).expect("an answer").1.to_vec();
            let source = SocketAddr::from(([192, 0, 2, 1], 1)).ip();
            let Ok(Consumed::Established(length)) = engine.consume(source, &answer, &mut octets, self.moment.now)
            else {
                panic!("no session")
            };
            self.take(number, &octets[..length]);
            engines.push(engine);
        }
        engines
    }

    /// Ticks as a worker does.
    fn tick(&mut self) {
        while self.shard.next_tick() <= self.moment.now {
            self.out.clear();
            self.shard.tick(self.moment, &mut self.out);
        }
    }
}

fn ticks(criterion: &mut Criterion) {
    for (name, connected) in [("asleep", false), ("awake", true)] {
        let mut hub = Hub::new(5000);
        if connected {
            hub.connect();
        }
        let mut worst = Duration::ZERO;
        criterion.bench_function(&format!("peers/a round of ticks for 5,000 {name}"), |bencher| {
            bencher.iter(|| {
                let until = hub.moment.now + ROUND;
                while hub.moment.now < until {
                    hub.pass(SLOT);
                    let begun = Instant::now();
                    hub.tick();
                    worst = worst.max(begun.elapsed());
                }
                black_box(&hub.shard);
            });
        });
        println!("peers/the longest portion of them: {worst:?}");
    }
}

criterion_group!(peers, ticks);
criterion_main!(peers);
