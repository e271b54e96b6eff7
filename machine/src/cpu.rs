// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a port is written against: a CPU's steps, and the kernel's variables.

use crate::act::{Act, Dsb, Fence, Note, Order, Outcome, Rmw};
use crate::arm64::{Desc, Reg, Tlbi};
use crate::config::Config;
use crate::event::{Event, Site};
use crate::machine::{Announced, State};
use crate::mem::{Memory, Name, Page, Use, VARS, Word};
use crate::op::{Access, Space, Va};
use core::cell::{Ref, RefCell, RefMut};
use core::future::Future;
use core::marker::PhantomData;
use core::panic::Location;
use core::pin::Pin;
use core::task::{Context, Poll};

/// A machine. Its state is shared by the futures that are its CPUs' programs.
#[derive(Debug, Default)]
pub struct Machine {
    state: RefCell<State>,
}

impl Machine {
    /// The state, to look at.
    pub fn state(&self) -> Ref<'_, State> {
        self.state.borrow()
    }

    /// The state, to act on as hardware does.
    pub fn state_mut(&self) -> RefMut<'_, State> {
        self.state.borrow_mut()
    }

    /// Back to power-on.
    pub fn reset(&self, config: Config) {
        self.state.borrow_mut().reset(config.clamp());
    }

    /// A CPU, to run a program on.
    pub fn cpu(&self, id: u8) -> Cpu<'_> {
        Cpu { machine: self, id }
    }
}

/// A step in the making: announced by the first poll, performed by the second.
#[must_use = "a step does nothing unless awaited"]
#[derive(Debug)]
pub struct Step<'m, T> {
    cpu: Cpu<'m>,
    act: Act,
    site: Site,
    announced: bool,
    result: PhantomData<T>,
}

/// A value that a step returns.
pub trait Value {
    /// From the word that the machine gives.
    fn from_word(word: u64) -> Self;
    /// To the word that the machine keeps.
    fn to_word(&self) -> u64;
}

impl Value for u64 {
    fn from_word(word: u64) -> u64 {
        word
    }
    fn to_word(&self) -> u64 {
        *self
    }
}

impl Value for () {
    fn from_word(_: u64) {}
    fn to_word(&self) -> u64 {
        0
    }
}

impl Value for bool {
    fn from_word(word: u64) -> bool {
        word != 0
    }
    fn to_word(&self) -> u64 {
        *self as u64
    }
}

impl Value for Desc {
    fn from_word(word: u64) -> Desc {
        Desc(word)
    }
    fn to_word(&self) -> u64 {
        self.0
    }
}

impl Value for Outcome {
    fn from_word(word: u64) -> Outcome {
        Outcome::from_value(word)
    }
    fn to_word(&self) -> u64 {
        *self as u64
    }
}

impl<T: Value + Unpin> Future for Step<'_, T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        let (act, site) = (self.act, self.site);
        let id = self.cpu.id;
        let mut state = self.cpu.machine.state.borrow_mut();
        if self.announced {
            if let Some(value) = state.perform(id, Announced { act, site }) {
                return Poll::Ready(T::from_word(value));
            }
            return Poll::Pending;
        }
        let c = &mut state.cpus[id as usize];
        c.next = Some(Announced { act, site });
        c.announcements += 1;
        drop(state);
        self.announced = true;
        Poll::Pending
    }
}

/// The word of a descriptor. One outside of the frames that can hold tables is the unused
/// first word of frame 0: a wild pointer of a defect must not stop the run.
fn descriptor(pa: u64) -> Word {
    Memory::desc_word(pa).unwrap_or(VARS as Word)
}

/// A CPU, as the program that runs on it sees it. Every method that returns a [`Step`] is
/// one step; nothing else lets another CPU run.
#[derive(Clone, Copy, Debug)]
pub struct Cpu<'m> {
    machine: &'m Machine,
    id: u8,
}

/// Methods of [`Cpu`] that are steps.
macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $act:expr;)*) => {
        $($(#[$doc])* #[track_caller]
        pub fn $name(self, $($arg: $ty),*) -> Step<'m, $ret> { self.step($act) })*
    };
}
pub(crate) use steps;

impl<'m> Cpu<'m> {
    /// Its number.
    pub fn id(self) -> u8 {
        self.id
    }

    /// The machine it belongs to.
    pub fn config(self) -> Config {
        self.machine.state.borrow().config
    }

    #[track_caller]
    pub(crate) fn step<T>(self, act: Act) -> Step<'m, T> {
        Step {
            cpu: self,
            act,
            site: Location::caller(),
            announced: false,
            result: PhantomData,
        }
    }

    steps! {
        /// Masks interrupts; gives whether they were masked before.
        local_irq_save() -> bool = Act::IrqOff;
        /// Unmasks interrupts.
        local_irq_enable() -> () = Act::IrqOn;
        /// Issues a TLB invalidation, which a [`dsb`](Self::dsb) completes.
        tlbi(op: Tlbi) -> () = Act::Tlbi(op);
        /// Data memory barrier, full: smp_mb.
        smp_mb() -> () = Act::Fence(Fence::Full);
        /// Data memory barrier for stores: smp_wmb.
        smp_wmb() -> () = Act::Fence(Fence::Stores);
        /// Data memory barrier for loads: smp_rmb.
        smp_rmb() -> () = Act::Fence(Fence::Loads);
        /// Data synchronization barrier.
        dsb(kind: Dsb) -> () = Act::Dsb(kind);
        /// Instruction synchronization barrier.
        isb() -> () = Act::Isb;
        /// Writes a system register; certain to be seen only after an [`isb`](Self::isb).
        write_sysreg(reg: Reg, value: u64) -> () = Act::Msr(reg, value);
        /// Exception return to the guest.
        enter_guest() -> () = Act::EnterGuest;
        /// Exception from the guest.
        exit_guest() -> () = Act::ExitGuest;
        /// An access by the user (or guest) whose context is loaded; takes as many steps as
        /// its walk has.
        access(va: Va, access: Access) -> Outcome = Act::Access(va, access);
        /// A zeroed table for a space; its physical address, or 0 without memory.
        alloc_table(space: Space) -> u64 = Act::AllocTable(space);
        /// A frame for a page of a space; 0 without memory.
        alloc_page(space: Space, page: Page) -> u64 = Act::AllocPage(space, page);
        /// Aligned frames for a block of pages; 0 without memory.
        alloc_block(space: Space, page: Page) -> u64 = Act::AllocBlock(space, page);
        /// Gives back a reference to the frame at a physical address; the last one frees it.
        free(pa: u64) -> () = Act::Free(pa);
        /// Takes a reference to a frame, besides that of its allocation; `false`: it is free.
        get_page(pa: u64) -> bool = Act::Note(pa, Note::Get);
        /// How many references to a frame there are.
        folio_ref_count(pa: u64) -> u64 = Act::Note(pa, Note::Count);
        /// Notes that a page is dirty: what is stored to it is kept from now on.
        set_page_dirty(pa: u64) -> () = Act::Note(pa, Note::Dirty);
        /// Writes a page back. What is stored to it later is lost, until it is noted as dirty.
        write_back(pa: u64) -> () = Act::Note(pa, Note::WriteBack);
        /// Frees the table at a physical address once every CPU that has interrupts masked now
        /// has had them unmasked, or runs a guest: an RCU grace period, as
        /// MMU_GATHER_RCU_TABLE_FREE and KVM's table walkers have it.
        tlb_remove_table(pa: u64) -> () = Act::FreeRcu(pa);
        /// Ends the space's life and begins its next with the empty root table returned.
        new_root(space: Space) -> u64 = Act::NewRoot(space);
        /// Copies the page at `from` to `to`; later stores to `from` are lost.
        copy_page(from: u64, to: u64) -> () = Act::Copy(from, to);
        /// Waits until some descriptor has changed since [`changes`](Self::changes) gave this
        /// number: a turn of a loop that waits for what another CPU is in the middle of, and
        /// holds no lock for.
        await_change(since: u32) -> () = Act::AwaitChange(since);
        /// Waits until no other CPU is in the middle of an operation that can go on.
        await_others() -> () = Act::AwaitOthers;
        /// Sends an IPI.
        send_ipi(target: u8, message: u64) -> () = Act::SendIpi(target, message);
        /// Waits until every IPI that this CPU sent has been handled.
        wait_ipis() -> () = Act::WaitIpi;
        /// Reads a descriptor (READ_ONCE). What was loaded before says where it lies.
        pte_read(pa: u64) -> Desc = Act::Load(descriptor(pa), Order::Address);
        /// Writes a descriptor (WRITE_ONCE).
        pte_write(pa: u64, desc: Desc) -> () = Act::Store(descriptor(pa), desc.0, Order::Relaxed);
        /// Writes a descriptor with release semantics.
        pte_write_release(pa: u64, desc: Desc) -> () = Act::Store(descriptor(pa), desc.0, Order::Release);
        /// Exchanges a descriptor, ordering nothing else (xchg_relaxed, as `ptep_get_and_clear` of
        /// arm64); gives the old one.
        pte_xchg_relaxed(pa: u64, desc: Desc) -> Desc = Act::Rmw(descriptor(pa), Rmw::Xchg(desc.0), Order::Relaxed);
        /// Exchanges a descriptor, fully ordered; gives the old one.
        pte_xchg(pa: u64, desc: Desc) -> Desc = Act::Rmw(descriptor(pa), Rmw::Xchg(desc.0), Order::Full);
        /// Exchanges a descriptor if it is `old`, fully ordered; gives what it was.
        pte_cmpxchg(pa: u64, old: Desc, new: Desc) -> Desc = Act::Rmw(descriptor(pa), Rmw::CmpXchg(old.0, new.0), Order::Full);
    }

    /// Ghost: a place that the corpus must reach.
    pub fn goal(self, name: &'static str) {
        let mut state = self.machine.state.borrow_mut();
        if !state.goals.iter().any(|g| core::ptr::eq(*g, name)) {
            state.goals.push(name);
        }
    }

    /// Ghost: what this CPU is in the middle of; `""` for nothing of note.
    pub fn phase(self, phase: &'static str) {
        self.machine.state.borrow_mut().cpus[self.id as usize].phase = phase;
    }

    /// Ghost: whether another CPU is in the middle of `phase`.
    pub fn another_in(self, phase: &'static str) -> bool {
        let state = self.machine.state.borrow();
        let mut others = state
            .cpus
            .iter()
            .enumerate()
            .filter(|(i, _)| *i != self.id as usize);
        others.any(|(_, c)| c.phase == phase)
    }

    /// How often descriptors have changed, or were read as they no longer are by this CPU: what
    /// [`Cpu::await_change`] waits for to grow.
    pub fn changes(self) -> u32 {
        self.machine.state.borrow().changes_for(self.id)
    }

    /// The reference count of the frame of a table (`page_count`). What lies outside of the
    /// frames that can hold one shares the unused count of frame 0.
    pub fn page_count(self, pa: u64) -> Shared<u64> {
        let mem = &self.machine.state.borrow().mem;
        let word = mem.count_word(pa).or_else(|| mem.count_word(0));
        Shared {
            word: word.unwrap_or(VARS as Word),
            value: PhantomData,
        }
    }

    /// Ghost: counts a slow path.
    pub fn slow_path(self) {
        self.machine.state.borrow_mut().cost.slow_paths += 1;
    }

    /// Ghost: tells the judge something.
    pub fn emit(self, event: Event) {
        self.machine.state.borrow_mut().events.push(event);
    }

    /// Ghost: the kernel's own table at `pa` is the root of what `space` translates by from now on;
    /// `None`: nobody's.
    pub fn lend_root(self, pa: u64, space: Option<Space>) {
        let mut state = self.machine.state.borrow_mut();
        state.lend_root(self.id, pa, space);
    }

    /// The kernel's WARN: an invariant of its own does not hold.
    pub fn warn(self, what: &'static str) {
        self.emit(Event::Warn { cpu: self.id, what });
    }

    /// Ghost: runs `f` on the machine's state.
    pub fn with<R>(self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.machine.state.borrow_mut())
    }
}

/// One variable of the kernel, shared by all CPUs.
#[derive(Debug)]
pub struct Shared<T> {
    word: Word,
    value: PhantomData<T>,
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Shared<T> {}

macro_rules! accesses {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty = $make:expr;)*) => {
        $($(#[$doc])* #[track_caller]
        pub fn $name<'m>(&self, cpu: Cpu<'m>, $($arg: $ty),*) -> Step<'m, $ret> {
            let make: fn(Word, $($ty),*) -> Act = $make;
            cpu.step(make(self.word, $($arg),*))
        })*
    };
}

impl<T: Value> Shared<T> {
    /// Where it lies.
    pub(crate) fn word(&self) -> Word {
        self.word
    }

    accesses! {
        /// READ_ONCE.
        read() -> T = |w| Act::Load(w, Order::Relaxed);
        /// smp_load_acquire.
        read_acquire() -> T = |w| Act::Load(w, Order::Acquire);
        /// WRITE_ONCE.
        write(v: T) -> () = |w, v| Act::Store(w, v.to_word(), Order::Relaxed);
        /// smp_store_release.
        write_release(v: T) -> () = |w, v| Act::Store(w, v.to_word(), Order::Release);
        /// xchg_relaxed; gives the old value.
        xchg_relaxed(v: T) -> T = |w, v| Act::Rmw(w, Rmw::Xchg(v.to_word()), Order::Relaxed);
        /// xchg; gives the old value.
        xchg(v: T) -> T = |w, v| Act::Rmw(w, Rmw::Xchg(v.to_word()), Order::Full);
        /// cmpxchg_relaxed; gives what the value was.
        cmpxchg_relaxed(old: T, new: T) -> T =
            |w, old, new| Act::Rmw(w, Rmw::CmpXchg(old.to_word(), new.to_word()), Order::Relaxed);
        /// cmpxchg; gives what the value was.
        cmpxchg(old: T, new: T) -> T =
            |w, old, new| Act::Rmw(w, Rmw::CmpXchg(old.to_word(), new.to_word()), Order::Full);
    }
}

impl Shared<u64> {
    accesses! {
        /// atomic64_add_return.
        add_return(n: u64) -> u64 = |w, n| Act::Rmw(w, Rmw::Add(n), Order::Full);
        /// atomic64_add_return_relaxed.
        add_return_relaxed(n: u64) -> u64 = |w, n| Act::Rmw(w, Rmw::Add(n), Order::Relaxed);
        /// set_bit: or, ordering nothing.
        or_relaxed(bits: u64) -> () = |w, bits| Act::Rmw(w, Rmw::Or(bits), Order::Relaxed);
        /// clear_bit: and-not, ordering nothing.
        andnot_relaxed(bits: u64) -> () = |w, bits| Act::Rmw(w, Rmw::AndNot(bits), Order::Relaxed);
        /// set_bit under a mask: or; gives the old value.
        fetch_or(bits: u64) -> u64 = |w, bits| Act::Rmw(w, Rmw::Or(bits), Order::Full);
        /// clear_bit under a mask: and-not; gives the old value.
        fetch_andnot(bits: u64) -> u64 = |w, bits| Act::Rmw(w, Rmw::AndNot(bits), Order::Full);
    }
}

/// A lock, not fair: any waiter may be next, however long others have waited.
#[derive(Clone, Copy, Debug)]
pub struct Lock {
    word: Word,
}

impl Lock {
    /// Takes it; the step is not enabled while another has it.
    #[track_caller]
    pub fn lock<'m>(&self, cpu: Cpu<'m>) -> Step<'m, ()> {
        cpu.step(Act::Lock(self.word))
    }

    /// Gives it back.
    #[track_caller]
    pub fn unlock<'m>(&self, cpu: Cpu<'m>) -> Step<'m, ()> {
        cpu.step(Act::Unlock(self.word))
    }
}

/// A reader/writer lock: any number of readers, or one writer. Not fair, to neither side.
#[derive(Clone, Copy, Debug)]
pub struct RwLock {
    word: Word,
}

impl RwLock {
    /// Takes it to write; the step is not enabled while anybody has it.
    #[track_caller]
    pub fn write_lock<'m>(&self, cpu: Cpu<'m>) -> Step<'m, ()> {
        cpu.step(Act::Lock(self.word))
    }

    /// Gives it back.
    #[track_caller]
    pub fn write_unlock<'m>(&self, cpu: Cpu<'m>) -> Step<'m, ()> {
        cpu.step(Act::Unlock(self.word))
    }

    /// Takes it to read; the step is not enabled while a writer has it. A CPU that has it must
    /// not take it again.
    #[track_caller]
    pub fn read_lock<'m>(&self, cpu: Cpu<'m>) -> Step<'m, ()> {
        cpu.step(Act::ReadLock(self.word))
    }

    /// Gives it back.
    #[track_caller]
    pub fn read_unlock<'m>(&self, cpu: Cpu<'m>) -> Step<'m, ()> {
        cpu.step(Act::ReadUnlock(self.word))
    }
}

/// The machine before its CPUs run: a port's variables and first page tables are made here.
#[derive(Debug)]
pub struct Boot<'m> {
    machine: &'m Machine,
    defect: Option<&'static str>,
}

impl<'m> Boot<'m> {
    /// A boot of `machine`, with a port's defect of that name built in.
    pub fn new(machine: &'m Machine, defect: Option<&'static str>) -> Self {
        Boot { machine, defect }
    }

    /// The machine.
    pub fn config(&self) -> Config {
        self.machine.state.borrow().config
    }

    /// Runs `f` on the machine's state.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        f(&mut self.machine.state.borrow_mut())
    }

    /// Whether the defect of this name is to be built in.
    pub fn has(&self, defect: &str) -> bool {
        self.defect == Some(defect)
    }

    /// A variable.
    pub fn var<T: Value>(&self, name: &'static str, value: T) -> Shared<T> {
        self.declare(name, None, value)
    }

    /// A variable for each CPU (or space), by number.
    pub fn vars<T: Value, const N: usize>(&self, name: &'static str, value: T) -> [Shared<T>; N] {
        let word = value.to_word();
        self.vars_from(name, core::array::from_fn(|_| T::from_word(word)))
    }

    /// A variable for each CPU (or space), with a first value for each.
    pub fn vars_from<T: Value, const N: usize>(
        &self,
        name: &'static str,
        values: [T; N],
    ) -> [Shared<T>; N] {
        let mut i = 0;
        values.map(|value| {
            i += 1;
            self.declare(name, Some(i - 1), value)
        })
    }

    fn declare<T: Value>(&self, name: &'static str, index: Option<u8>, value: T) -> Shared<T> {
        let mut state = self.machine.state.borrow_mut();
        let word = state.mem.declare(Name { name, index }, value.to_word());
        Shared {
            word,
            value: PhantomData,
        }
    }

    /// A lock.
    pub fn lock(&self, name: &'static str) -> Lock {
        Lock {
            word: self.declare::<u64>(name, None, 0).word,
        }
    }

    /// A lock for each space (or CPU), by number.
    pub fn locks<const N: usize>(&self, name: &'static str) -> [Lock; N] {
        core::array::from_fn(|i| Lock {
            word: self.declare::<u64>(name, Some(i as u8), 0).word,
        })
    }

    /// A reader/writer lock.
    pub fn rw_lock(&self, name: &'static str) -> RwLock {
        RwLock {
            word: self.declare::<u64>(name, None, 0).word,
        }
    }

    /// A reader/writer lock for each space (or CPU), by number.
    pub fn rw_locks<const N: usize>(&self, name: &'static str) -> [RwLock; N] {
        core::array::from_fn(|i| RwLock {
            word: self.declare::<u64>(name, Some(i as u8), 0).word,
        })
    }

    /// Says that the table at `root`, of level 2, has what a space maps, and the tables that
    /// walkers read are filled from it.
    pub fn primary(&self, space: Space, root: u64) {
        self.machine.state.borrow_mut().primary[space.0 as usize] = root;
    }

    /// Sets the reference count of a table's frame.
    pub fn page_count(&self, pa: u64, count: u64) {
        let mem = &mut self.machine.state.borrow_mut().mem;
        if let Some(word) = mem.count_word(pa) {
            mem.set(word, count);
        }
    }

    /// An empty table of no space, for the kernel's own use.
    ///
    /// # Panics
    /// If memory is full, which a boot cannot bring about.
    pub fn reserved_table(&self) -> u64 {
        let mut state = self.machine.state.borrow_mut();
        state.mem.alloc(Use::Table(None)).expect("memory at boot")
    }

    /// Gives a space its first root table.
    ///
    /// # Panics
    /// If memory is full, which a boot cannot bring about.
    pub fn root(&self, space: Space) -> u64 {
        let mut state = self.machine.state.borrow_mut();
        let life = state.life(space);
        let pa = state
            .mem
            .alloc(Use::Table(Some(life)))
            .expect("memory at boot");
        state.roots[space.0 as usize] = pa;
        pa
    }

    /// A table of a space, before any CPU runs.
    ///
    /// # Panics
    /// If memory is full, which a boot cannot bring about.
    pub fn table(&self, space: Space) -> u64 {
        let mut state = self.machine.state.borrow_mut();
        let life = state.life(space);
        state
            .mem
            .alloc(Use::Table(Some(life)))
            .expect("memory at boot")
    }

    /// A page of a space.
    ///
    /// # Panics
    /// If memory is full, which a boot cannot bring about.
    pub fn page(&self, space: Space, page: Page) -> u64 {
        let mut state = self.machine.state.borrow_mut();
        let life = state.life(space);
        state
            .mem
            .alloc(Use::Page(life, page))
            .expect("memory at boot")
    }

    /// A block of a space.
    ///
    /// # Panics
    /// If memory is full, which a boot cannot bring about.
    pub fn block(&self, space: Space, page: Page) -> u64 {
        let mut state = self.machine.state.borrow_mut();
        let life = state.life(space);
        state.mem.alloc_block(life, page).expect("memory at boot")
    }

    /// Writes a descriptor.
    pub fn set(&self, pa: u64, desc: Desc) {
        let mut state = self.machine.state.borrow_mut();
        let word = Memory::desc_word(pa).expect("a table's address");
        state.mem.set(word, desc.0);
    }

    /// Sets a register of every CPU, synchronized.
    pub fn sysreg(&self, reg: Reg, value: u64) {
        for cpu in &mut self.machine.state.borrow_mut().cpus {
            cpu.regs.set(reg, value);
        }
    }
}
