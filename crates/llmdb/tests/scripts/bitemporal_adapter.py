#!/usr/bin/env python3
"""Answers a bitemporal reference suite through `llmdb apply` and `llmdb ask`.  Standard library only.

  bitemporal_adapter.py LLMDB NAME.ops.jsonl NAME.queries.jsonl DB > ANSWERS.jsonl

The operations are lines of `apply` as they are. Each query becomes one question or more, and their answers
become one line {"id": ..., "answer": ...} for the suite's checker. DB must not exist yet.
It is also an example of how another language talks to a database.
"""
import json
import subprocess
import sys


def run(llmdb, command, db, lines):
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    done = subprocess.run([llmdb, command, db, '-', '--times', 'micros'], input=text, text=True, capture_output=True)
    if done.returncode != 0:
        sys.exit(f'llmdb {command} ended with {done.returncode}: {done.stderr}')
    return [json.loads(line) for line in done.stdout.splitlines()]


def canon(value):
    return json.dumps(value, sort_keys=True)


def questions(q):
    """The questions of a first round."""
    known = {'known_at': q['tx']} if 'tx' in q else {}
    by_commit = {'at_commit': q['commit']} if 'commit' in q else {}
    kind = q['kind']
    if kind == 'counts':
        return [{'op': 'changes'}]
    if kind == 'as_of':
        get = {'op': 'get', 'key': q['key'], 'valid_at': q['valid']}
        return [{**get, **known}, {**get, **by_commit}]
    if kind == 'timeline':
        ask = {'op': 'timeline', 'key': q['key'], 'valid_from': q['valid_from'], 'valid_to': q['valid_to'], 'clamp': True}
        return [{**ask, **known}, {**ask, **by_commit}]
    if kind in ('history', 'first_and_latest_belief'):
        return [{'op': 'history', 'key': q['key'], 'valid_at': q['valid']}]
    if kind in ('snapshot', 'snapshot_count'):
        last = q.get('key_to_inclusive')
        ask = {'op': 'scan', 'valid_at': q['valid'], 'from': q.get('key_from'), 'to': None if last is None else last + '\0'}
        return [{**ask, **known}, {**ask, **by_commit}]
    if kind == 'keys_written_between':
        return [{'op': 'changes', 'from': q['after_tx'], 'to': q['up_to_tx']},
                {'op': 'changes', 'from_commit': q['after_commit'], 'to_commit': q['up_to_commit']}]
    if kind == 'aggregate_over_valid':
        return [{'op': 'changes', 'key': q['key']}]
    sys.exit('unknown kind ' + kind)


def second_round(q, answers):
    """Questions that only the first answers make possible."""
    if q['kind'] != 'aggregate_over_valid':
        return []
    periods = {tuple(row['valid']) for row in answers[0]['rows']}
    starts = sorted(start for start, _ in periods if q['valid_from'] <= start < q['valid_to'])
    return [{'op': 'get', 'key': q['key'], 'valid_at': start, 'known_at': q['tx']} for start in starts]


def answer(q, first, second):
    kind = q['kind']
    if len(first) == 2 and first[0] != first[1]:
        sys.exit(f'{q["id"]}: by time {first[0]}, by commit {first[1]}')
    if kind == 'as_of':
        return first[0]['value']
    rows = first[0]['rows']
    if kind == 'counts':
        return {'operations': len(rows), 'keys': len({r['key'] for r in rows}), 'commits': len({r['commit'] for r in rows})}
    if kind == 'timeline':
        return [[*r['valid'], r['value']] for r in rows]
    if kind == 'history':
        return [[*r['known'], r['value']] for r in rows]
    if kind == 'snapshot':
        return [[r['key'], r['value']] for r in rows]
    if kind == 'snapshot_count':
        return len(rows)
    if kind == 'keys_written_between':
        keys = sorted({r['key'] for r in rows})
        return keys if len(keys) <= 50 else {'count': len(keys)}
    if kind == 'aggregate_over_valid':
        values = [a['value'] for a in second if a['value'] is not None]
        return {'count': len(values), 'sum': sum(values), 'min': min(values, default=None), 'max': max(values, default=None)}
    # first_and_latest_belief: how often the belief changed to another value counts, not how often it was cut.
    beliefs = [r['value'] for n, r in enumerate(rows) if n == 0 or canon(r['value']) != canon(rows[n - 1]['value'])]
    standing = bool(rows) and rows[-1]['known'][1] is None
    return {'first': beliefs[0] if beliefs else None, 'first_tx': rows[0]['known'][0] if rows else None,
            'latest': beliefs[-1] if standing else None, 'beliefs': len(beliefs)}


def main():
    llmdb, ops, queries, db = sys.argv[1:]
    with open(ops, encoding='utf-8') as lines:
        run(llmdb, 'apply', db, map(json.loads, lines))
    with open(queries, encoding='utf-8') as lines:
        queries = [json.loads(line) for line in lines]
    asked = [questions(q) for q in queries]
    found = iter(run(llmdb, 'ask', db, [question for each in asked for question in each]))
    first = [[next(found) for _ in each] for each in asked]
    more = [second_round(q, answers) for q, answers in zip(queries, first)]
    found = iter(run(llmdb, 'ask', db, [question for each in more for question in each]))
    second = [[next(found) for _ in each] for each in more]
    for q, one, two in zip(queries, first, second):
        print(json.dumps({'id': q['id'], 'answer': answer(q, one, two)}))


if __name__ == '__main__':
    main()
