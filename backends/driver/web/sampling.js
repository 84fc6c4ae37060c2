// @ts-check
/**
 * From logits to the next token, as `Sampling` of drupe-runtime-llm does it: the same steps in the same order, and the
 * same random numbers, so that a seed gives the same text as on a CPU, but for logits that differ in their last bits.
 */

import { DrupeError } from "./drupe.js";

/**
 * @typedef {object} Sampling
 * @property {number} [temperature] what logits are divided by; 0, the default, for the greatest logit
 * @property {number} [topK] tokens to choose from; 0, the default, for all
 * @property {number} [topP] the share of probability to choose from, in 0..=1; 1, the default, for all
 * @property {number} [minP] the least probability, as a part of the greatest, in 0..=1; 0, the default, for all
 * @property {number} [repetitionPenalty] divides the positive logits of tokens that are there already, and multiplies
 *   the negative ones; 1, the default, for none
 * @property {number | bigint} [seed] where the random numbers start; 0 by default
 */

/** @type {Required<Sampling>} */
const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, repetitionPenalty: 1, seed: 0 };

/** What each number may be. @type {[keyof Sampling, (value: number) => boolean, string][]} */
const RANGES = [
  ["temperature", (value) => Number.isFinite(value) && value >= 0, "0 or more"],
  ["topK", (value) => Number.isInteger(value) && value >= 0, "0 or more, and whole"],
  ["topP", (value) => value >= 0 && value <= 1, "0 to 1"],
  ["minP", (value) => value >= 0 && value <= 1, "0 to 1"],
  ["repetitionPenalty", (value) => Number.isFinite(value) && value > 0, "more than 0"],
];

const BITS_53 = 2 ** 53;

/** SplitMix64: numbers in 0..1, multiples of 2^-53. @param {number | bigint} seed */
function randomNumbers(seed) {
  let state = BigInt.asUintN(64, BigInt(seed));
  return () => {
    state = BigInt.asUintN(64, state + 0x9e3779b97f4a7c15n);
    let mixed = BigInt.asUintN(64, (state ^ (state >> 30n)) * 0xbf58476d1ce4e5b9n);
    mixed = BigInt.asUintN(64, (mixed ^ (mixed >> 27n)) * 0x94d049bb133111ebn);
    return Number((mixed ^ (mixed >> 31n)) >> 11n) / BITS_53;
  };
}

/** Chooses token after token. */
export class Sampler {
  #how;
  #next;

  /** @param {Sampling} [how] what is not given is greedy */
  constructor(how = {}) {
    const given = Object.fromEntries(Object.entries(how).filter(([, value]) => value !== undefined));
    this.#how = /** @type {Required<Sampling>} */ ({ ...GREEDY, ...given });
    for (const [name, fits, range] of RANGES) {
      const value = this.#how[name];
      if (!fits(Number(value))) throw new DrupeError("sampling", `${name} is ${value}: ${range} is possible`);
    }
    this.#next = randomNumbers(this.#how.seed);
  }

  /**
   * The next token.
   *
   * @param {Float32Array} logits of every token; penalties change them
   * @param {Iterable<number>} [seen] tokens that are there already, of the prompt and of the output
   * @returns {number}
   */
  choose(logits, seen = []) {
    const { temperature, topK, topP, minP, repetitionPenalty } = this.#how;
    if (repetitionPenalty !== 1) {
      for (const token of new Set(seen)) {
        logits[token] = logits[token] > 0 ? logits[token] / repetitionPenalty : logits[token] * repetitionPenalty;
      }
    }
    const best = greatest(logits);
    if (temperature === 0) return best;
    const weight = (/** @type {number} */ token) =>
      logits[token] === logits[best] ? 1 : Math.exp((logits[token] - logits[best]) / temperature);
    const sum = (/** @type {number[]} */ tokens) => tokens.reduce((total, token) => total + weight(token), 0);
    let candidates = /** @type {number[]} */ ([]);
    // What is no number is never chosen.
    logits.forEach((logit, token) => { if (logit > -Infinity) candidates.push(token); });
    if (topK > 0) candidates = mostProbable(logits, candidates, topK);
    if (topP < 1) candidates = nucleus(logits, candidates, weight, topP * sum(candidates));
    if (minP > 0) candidates = candidates.filter((token) => weight(token) >= minP);
    let left = this.#next() * sum(candidates);
    // Where rounding leaves a little, it is the last.
    return candidates.find((token) => (left -= weight(token)) < 0) ?? candidates[candidates.length - 1];
  }
}

/**
 * The most probable `count` of the tokens, in order: of equally probable ones the lower ones count as more probable.
 *
 * @param {Float32Array} logits @param {number[]} tokens @param {number} count
 */
function mostProbable(logits, tokens, count) {
  let rest = tokens;
  if (count < tokens.length) {
    // Sorting numbers is much faster than sorting tokens by them.
    const least = Float32Array.from(tokens, (token) => logits[token]).sort()[tokens.length - count];
    rest = tokens.filter((token) => logits[token] >= least);
  }
  return rest.toSorted((a, b) => logits[b] - logits[a] || a - b).slice(0, count);
}

/**
 * The fewest most probable of the tokens whose weights are `mass` or more, at least one. Only as many as needed are
 * sorted: most vocabularies are large, and most probable tokens few.
 *
 * @param {Float32Array} logits @param {number[]} tokens @param {(token: number) => number} weight @param {number} mass
 */
function nucleus(logits, tokens, weight, mass) {
  for (let count = 64; ; count *= 8) {
    const sorted = mostProbable(logits, tokens, count);
    let total = 0;
    const last = sorted.findIndex((token) => (total += weight(token)) >= mass);
    if (last >= 0) return sorted.slice(0, last + 1);
    if (sorted.length === tokens.length) return sorted;
  }
}

/** The token of the greatest logit, the lowest of equal ones. @param {Float32Array} logits */
function greatest(logits) {
  let best = -1;
  for (let token = 0; token < logits.length; token++) {
    if (logits[token] > (best < 0 ? -Infinity : logits[best])) best = token;
  }
  if (best < 0) throw new DrupeError("sampling", "no token has a logit that is a number");
  return best;
}
