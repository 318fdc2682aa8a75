"""The walk of one export: plan, source, golden pack, workers, judgement, bundle."""
