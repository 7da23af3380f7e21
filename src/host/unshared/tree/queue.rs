//! Several threads that do what is to be done, and what turns up meanwhile.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::TreeError;

/// How many threads there are at most: they wait for the disk in part, and others want it too.
const MOST_THREADS: usize = 4;

/// What each thread has for the contents of files. More than the largest list of extended
/// attributes, and the largest of them, 64 KiB each (xattr(7)).
const BUFFER: usize = 256 * 1024;

/// What is to be done.
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    tasks: Vec<T>,
    /// How many threads are doing something, and may add to it.
    busy: usize,
    failed: Option<TreeError>,
}

/// Does all tasks, the newest first: so a tree is gone through in depth, and few of its directories
/// are open at a time. The first error ends it.
pub(super) fn work<T: Send>(
    tasks: Vec<T>,
    perform: impl Fn(T, &Queue<T>, &mut [u8]) -> Result<(), TreeError> + Sync,
) -> Result<(), TreeError> {
    let queue = Queue {
        state: Mutex::new(State { tasks, busy: 0, failed: None }),
        changed: Condvar::new(),
    };
    let threads = thread::available_parallelism().map_or(2, usize::from).clamp(2, MOST_THREADS);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut buffer = vec![0; BUFFER];
                while let Some(task) = queue.take() {
                    let busy = Busy(&queue);
                    if let Err(error) = perform(task, &queue, &mut buffer) {
                        busy.0.lock().failed.get_or_insert(error);
                    }
                }
            });
        }
    });
    let state = queue.state.into_inner().unwrap_or_else(PoisonError::into_inner);
    state.failed.map_or(Ok(()), Err)
}

impl<T> Queue<T> {
    /// Adds tasks.
    pub(super) fn add(&self, tasks: impl IntoIterator<Item = T>) {
        self.lock().tasks.extend(tasks);
        self.changed.notify_all();
    }

    /// Takes a task; waits while there may still be one.
    fn take(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if state.failed.is_some() {
                return None;
            }
            if let Some(task) = state.tasks.pop() {
                state.busy += 1;
                return Some(task);
            }
            if state.busy == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread does something, until this is dropped, also by a panic: others wait for it.
struct Busy<'a, T>(&'a Queue<T>);

impl<T> Drop for Busy<'_, T> {
    fn drop(&mut self) {
        self.0.lock().busy -= 1;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::io::Errno;

    use super::*;

    #[test]
    fn everything_is_done_and_what_turns_up_too() {
        let done = AtomicU32::new(0);
        work(vec![3, 3], |left: u32, queue, _| {
            done.fetch_add(1, Ordering::Relaxed);
            if left > 0 {
                queue.add([left - 1, left - 1]);
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(done.into_inner(), 2 * (1 + 2 + 4 + 8));
        work(Vec::new(), |(): (), _, _| Ok(())).unwrap();
    }

    #[test]
    fn an_error_ends_it() {
        let error = work(vec![1], |number: u64, queue, _| {
            // Without an end otherwise.
            queue.add([number + 1]);
            match number {
                100 => Err(TreeError::new("do", "it", Errno::NOSPC)),
                _ => Ok(()),
            }
        });
        assert!(error.unwrap_err().to_string().starts_with("cannot do it: No space left"));
    }
}
