/** What other nodes hold, brought to this one by hand: `town bundle apply` and `town mirror pull` beside a running daemon. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { OFFER_CHARS_MAX, type OfferCase } from '../node/offers.js';
import * as input from './inputs.js';

/** Text in JSON takes up to twice its characters, where each is a quotation mark; and a little for what is around it. */
const BODY_BYTES_MAX = 2 * OFFER_CHARS_MAX + 1024;

const offeredView = Type.Object({
  height: Type.Integer({ description: 'of main, now' }),
  refused: Type.Union([Type.Object({ code: Type.String(), reason: Type.String() }), Type.Null()], {
    description: 'why it, or the rest of it, was not taken',
  }),
  lacking: Type.Array(Type.String(), {
    description: 'ids of blocks that the merge folds in and that contradict what is here of their branches',
  }),
  waits: Type.Boolean({ description: 'some of it builds on a merge that is not here, and was let go' }),
});

/** Needs no session: the proof says that who asks can read the key of this node. */
export const offerRoutes: FastifyPluginAsyncTypebox<{ readonly offers: OfferCase }> = async (
  app,
  { offers },
) => {
  app.post(
    '/api/ledger/offers',
    {
      bodyLimit: BODY_BYTES_MAX,
      schema: {
        tags: ['ledger'],
        security: [],
        summary:
          'Takes in blocks or merges that other nodes made, after the checks that messages of peers pass',
        body: input.exactly({
          part: Type.String({
            minLength: 1,
            maxLength: OFFER_CHARS_MAX,
            description: `the blocks or merges, as a node answers a peer that wants them, in JSON; at most ${OFFER_CHARS_MAX} characters`,
          }),
          proof: Type.String({
            pattern: '^[0-9a-f]{64}$',
            description: "HMAC-SHA256 of the part by this node's key: 64 hex digits",
          }),
        }),
        response: input.answers(offeredView),
      },
    },
    async ({ body }) => {
      const { height, refused, lacking, waits } = await offers.offer(body.part, body.proof);
      return { height, refused, lacking: [...lacking], waits };
    },
  );
};
