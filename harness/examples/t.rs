use shootdown::{check::*, exec::Bench, scenario};
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let secs: u64 = a[1].parse().unwrap();
    let seed: u64 = a[2].parse().unwrap();
    let subj = if a.len() > 3 {
        vec![Subject::parse(&a[3]).unwrap()]
    } else {
        Subject::sound()
    };
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut b = Bench::default();
    let t = std::time::Instant::now();
    let (mut n, mut steps, mut comp) = (0u64, 0u64, 0u64);
    while t.elapsed().as_secs() < secs {
        if let Some(st) = a.get(4) {
            use shootdown::explore::*;
            let st = match &st[..] {
                "random" => Strategy::Random,
                "sticky" => Strategy::Sticky,
                "pct" => Strategy::Pct,
                _ => Strategy::Bursts,
            };
            let (s, f, k) = try_one(&mut b, &subj, st, n as usize, &mut rng);
            n += 1;
            steps += k;
            if let Some(f) = f {
                println!(
                    "{} {} after {n} runs {:?} replay {}",
                    f.by.name(),
                    f.finding.rule.name,
                    t.elapsed(),
                    check(&mut b, &s, &[f.by]).found.is_some()
                );
                return;
            }
            continue;
        }
        let s = scenario::generate(&mut rng);
        let o = check(&mut b, &s, &subj);
        n += 1;
        comp += o.comparable as u64;
        steps += o.results.iter().map(|r| r.cost.steps).sum::<u64>();
        if let Some(f) = o.found {
            println!(
                "{s}\n{} {} step {} : {}  after {n} runs {:?}",
                f.by.name(),
                f.finding.rule.name,
                f.finding.step,
                f.finding.breach.what,
                t.elapsed()
            );
            println!("{:?}", f.finding.breach.entry);
            return;
        }
    }
    let e = t.elapsed().as_secs_f64();
    println!(
        "{n} runs {:.0}/s {:.2}M steps/s {:.1} steps/run comp {:.1}",
        n as f64 / e,
        steps as f64 / e / 1e6,
        steps as f64 / n as f64,
        comp as f64 / n as f64
    );
    for g in &b.coverage.goals {
        println!("{g:?}");
    }
}
