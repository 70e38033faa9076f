import { emit } from '../event/event.ts';
import type { Ports } from '../ports.ts';
import { type Caller, mustBeOperator } from '../shared/actor.ts';
import { found, refuse } from '../shared/refusal.ts';
import { changeStock, MAX_STOCK, type StockAdjustment } from './product.ts';

export interface AdjustStock {
  readonly sku: string;
  /** Pieces that came (positive) or went (negative); not 0. */
  readonly delta: number;
  readonly reason: string;
}

/** Puts stock on hand or takes it off, and keeps why. Never below zero: `insufficient_stock`. */
export const adjustStock =
  ({ transact, newId }: Pick<Ports, 'transact' | 'newId'>) =>
  async ({ actor, once }: Caller, { sku: code, delta, reason }: AdjustStock): Promise<StockAdjustment> => {
    mustBeOperator(actor);
    return transact({ skus: [code], once }, (books) => {
      if (delta === 0) refuse({ code: 'invalid_delta', max: MAX_STOCK });
      const sku = changeStock(found(books.get('skus', code), 'sku'), delta);
      books.put('skus', sku);
      const adjustment: StockAdjustment = {
        id: newId(),
        sku: code,
        delta,
        stock: sku.stock,
        reason,
        by: actor.subject,
        createdAt: books.now,
      };
      books.append('adjustments', adjustment);
      emit(books, newId(), 'stock.adjusted', sku.productId, { productId: sku.productId, sku: code, delta, stock: sku.stock });
      return adjustment;
    });
  };
