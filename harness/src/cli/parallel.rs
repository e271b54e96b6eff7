// SPDX-License-Identifier: MIT OR Apache-2.0
//! Work on several cores, told of in this thread as it gets done.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

/// Cores that there are.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Does `work` for each item, by its number, on `jobs` threads, and tells `done` of each result
/// in the order in which they come. An error of that ends it: nothing more is begun.
pub fn each<T: Sync, R: Send, E>(
    items: &[T],
    jobs: usize,
    work: impl Fn(usize, &T) -> R + Sync,
    mut done: impl FnMut(usize, R) -> Result<(), E>,
) -> Result<(), E> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (to, from) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(items.len()) {
            let (to, next, stop, work) = (to.clone(), &next, &stop, &work);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(number) else {
                        return;
                    };
                    if to.send((number, work(number, item))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(to);
        for (number, result) in from {
            let told = done(number, result);
            stop.store(told.is_err(), Ordering::Relaxed);
            told?;
        }
        Ok(())
    })
}

/// The same, but `done` is told of the results in the order of the items.
pub fn in_order<T: Sync, R: Send, E>(
    items: &[T],
    jobs: usize,
    work: impl Fn(&T) -> R + Sync,
    mut done: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let (mut early, mut turn) = (BTreeMap::new(), 0);
    each(
        items,
        jobs,
        |_, item| work(item),
        |number, result| {
            early.insert(number, result);
            while let Some(result) = early.remove(&turn) {
                turn += 1;
                done(result)?;
            }
            Ok(())
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_the_items() {
        let items: Vec<u64> = (0..40).collect();
        let mut told = Vec::new();
        // The first take longest.
        let work = |n: &u64| {
            std::thread::sleep(std::time::Duration::from_micros(40 - n));
            *n
        };
        let end = in_order(&items, 4, work, |n| {
            told.push(n);
            Ok::<_, ()>(())
        });
        assert_eq!((end, told), (Ok(()), items));
    }

    #[test]
    fn each_item_is_worked_on_once() {
        let items: Vec<usize> = (0..100).collect();
        for jobs in [1, 3, 200] {
            let mut seen = vec![0; items.len()];
            let all = each(
                &items,
                jobs,
                |number, item| number + item,
                |number, sum| {
                    seen[number] += 1;
                    if sum == 2 * number { Ok(()) } else { Err(sum) }
                },
            );
            assert_eq!(all, Ok(()));
            assert!(seen.iter().all(|times| *times == 1));
        }
    }

    #[test]
    fn an_error_ends_it() {
        let items = [(); 1000];
        let mut told = 0;
        let end = each(
            &items,
            2,
            |_, ()| (),
            |_, ()| {
                told += 1;
                if told == 3 { Err("enough") } else { Ok(()) }
            },
        );
        assert_eq!((end, told), (Err("enough"), 3));
    }
}
