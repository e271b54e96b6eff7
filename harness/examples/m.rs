//! x
use shootdown::{check::*, exec::Bench, minimize::minimize, scenario};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let by = Subject::parse(&a[1]).unwrap();
    let secs: u64 = a[2].parse().unwrap();
    let mut b = Bench::default();
    let mut rng = fastrand::Rng::with_seed(99);
    let t = std::time::Instant::now();
    let mut best: Option<(usize, String)> = None;
    while t.elapsed().as_secs() < secs {
        let mut s = scenario::generate(&mut rng);
        if let Some(f) = check(&mut b, &s, &[by]).found {
            if !a[3..].is_empty() && !a[3..].contains(&f.finding.rule.name.to_string()) {
                continue;
            }
            s.variants = vec![by.choice()];
            let m = minimize(&mut b, &s).unwrap().unwrap();
            let size = m.scenario.programs.iter().flatten().count() * 3
                + m.scenario.schedule.len() * 2
                + m.scenario.machine.cpus as usize;
            if best.as_ref().is_none_or(|b| size < b.0) {
                best = Some((size, m.scenario.to_string()));
            }
        }
    }
    print!("{}", best.unwrap().1);
}
