//! x
use shootdown::{check::*, exec::Bench, minimize::minimize, scenario};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let subj = vec![Subject::parse(&a[1]).unwrap()];
    let mut b = Bench::default();
    for seed in 1..=a[2].parse().unwrap() {
        let mut rng = fastrand::Rng::with_seed(seed);
        loop {
            let mut s = scenario::generate(&mut rng);
            if check(&mut b, &s, &subj).found.is_some() {
                s.variants = vec![subj[0].choice()];
                let t = std::time::Instant::now();
                let m = minimize(&mut b, &s).unwrap().unwrap();
                println!("{}# {} trials {:?}: {}\n", m.scenario, m.trials, t.elapsed(), m.found.finding.breach.what);
                break;
            }
        }
    }
}
