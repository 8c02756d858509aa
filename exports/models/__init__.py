"""The tables of the ledger, each in a module of its own."""

from exports.models.ack import ErpAck
from exports.models.batch import Batch, BatchItem
from exports.models.counter import Counter, CounterProgress
from exports.models.event import ErpExportEvent
from exports.models.export import ErpExport
from exports.models.worker import Worker
