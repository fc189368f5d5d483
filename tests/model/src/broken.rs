//! The ways in which the protocol can be broken on purpose.

/// A change that makes the protocol wrong. The checker catches each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The protocol is unchanged.
    Nothing,

    // The endpoint.
    /// The endpoint sends the message before the operation has a row.
    SendsBeforeRow,
    /// A replay that finds the operation PENDING responds without sending the message again.
    ReplayOnlyResponds,
    /// A key whose operation no longer has a row counts as new, although the card carries the operation's mark.
    GoneIsNew,
    /// A refused increment does not look for its operation once more, and does not recognize what another copy of its
    /// request recorded.
    IncrementLooksOnce,
    /// Entries that SQS refuses are reported as not sent, although an earlier attempt got no response, or another
    /// copy of the request may have sent them.
    TakenReportedNotSent,
    /// A wrong PIN counts again when a response is lost, and when the request is repeated.
    TryCountsAgain,

    /// The limit of wrong attempts is checked when the person's row is read. It is not a condition of the verdict's
    /// write.
    TriesCheckedBefore,
    /// The end of a lock is written without a condition on the row.
    LockEndsUnguarded,
    /// Each lock lasts as long as the one before.
    LocksAlike,
    /// A right PIN does not end a series of locks.
    LengthStays,
    /// The hour's limit of wrong PINs is checked when its row is read. It is not a condition of the write.
    HourCheckedBefore,
    /// A PIN that was found locked is verified all the same, and the attempt is not counted in the hour.
    LockedIsVerified,
    /// A right PIN is accepted even if the hour has no room.
    RightIsNotCounted,
    /// A right PIN needs room in the hour too, but only wrong ones are counted.
    WrongAloneIsCounted,

    // Every worker.
    /// The worker deletes the message before its events are published.
    AcksBeforePublishing,
    /// Cards, items and the bulk are changed before the worker knows that the operation has a row.
    EffectBeforeOperation,
    /// A message's operation is found by its ID alone, although its key may have been used again.
    AnyAcceptance,

    // Binds.
    /// The success is published before the card is written.
    PublishesBeforeWriting,
    /// The worker recognizes its own bind by the card's status, not by the mark.
    MineByStatus,
    /// A refusal is not stored. Each delivery decides anew.
    RefusalNotStored,
    /// The event of a replaced card shows the card's current status, not the one its mark remembers.
    EventOfStatus,
    /// A reissue writes one card, then the other.
    ReissueInTwoWrites,
    /// A reissue looks for its mark only on the card that it reads first.
    MineOfFirstRead,
    /// A reissue looks for its mark only on the card that it reads last.
    MineOfLastRead,

    // Orders.
    /// Only the delivery that changed an order records it next to its operation.
    NotesOrderOnce,
    /// An operation counts an order that ended each time it learns of the end.
    CountsOrderAgain,
    /// The end of an order is published before it is recorded next to its operation.
    PublishesBeforeNoting,

    // Operations on a bulk.
    /// Cards are issued without a condition on the item's state.
    IssuesUnguarded,
    /// Items and cards are canceled without a condition on their state.
    CancelsUnguarded,
    /// A FULL cancel does not seal the bulk.
    PlansWithoutSeal,
    /// Every plan message decides anew which batches count.
    BatchesOfEachPlan,
    /// The number of chunks is set before the last of them are sent.
    TotalBeforeChunks,
    /// A plan does not record which pages are planned, so every copy of its message plans its page again. The message
    /// for the next page is sent together with the page's chunks.
    PlansAgain,
    /// A resume deletes the plan of an operation whose chunks are all complete.
    ForgetsComplete,
    /// A card's event is published before the card is visible.
    CreateBeforeCard,
    /// A card that an item names, but that is not visible yet, is reported as missing.
    CardToBeIsMissing,
    /// The end or the refusal of a start is not published.
    EndOfStartUnpublished,
    /// An end that another delivery wrote is published before the bulk's header shows it.
    EndBeforeHeader,
    /// An item is reported as locked without a final check.
    HeldWithoutLook,
    /// The final check of a locked item that has a card reads only the item.
    HeldLooksAtItemAlone,
    /// A chunk is given up while other deliveries of it may still cancel its items.
    HeldReportedAtOnce,
    /// A chunk's result overwrites an earlier one.
    ResultOverwritten,
    /// A chunk is recorded as complete before its events are published.
    CompletesBeforePublishing,
    /// A chunk is counted as complete each time it is delivered.
    CompletesAgain,
    /// One write begins the operation, and another changes the bulk's header.
    BeginsInTwoWrites,
    /// One write ends the operation, and another changes the bulk's header.
    EndsInTwoWrites,
    /// The bulk's header is written without a condition on what was read.
    EndsOnOldHeader,
    /// Only the delivery that ended the operation publishes its end.
    EndReportedOnce,
}
